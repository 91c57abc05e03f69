"""Files on this machine: written whole, encrypted, and their digests."""

from ddetr_data.files.atomic import (
    Content,
    discard_folder,
    naming,
    remove_leftovers,
    replacing,
    replacing_all,
    staged,
    whole_folder,
    write_all,
    write_whole,
)
from ddetr_data.files.digests import file_digests
from ddetr_data.files.encryption import (
    CHUNK_BYTES,
    DamagedFileError,
    EncryptionError,
    NotEncryptedError,
    WrongKeyError,
    decrypt,
    encrypting,
    is_encrypted,
    model_source,
    opened,
)
from ddetr_data.files.names import LONGEST_NAME, fitting_name

__all__ = [
    "CHUNK_BYTES",
    "LONGEST_NAME",
    "Content",
    "DamagedFileError",
    "EncryptionError",
    "NotEncryptedError",
    "WrongKeyError",
    "decrypt",
    "discard_folder",
    "encrypting",
    "file_digests",
    "fitting_name",
    "is_encrypted",
    "model_source",
    "naming",
    "opened",
    "remove_leftovers",
    "replacing",
    "replacing_all",
    "staged",
    "whole_folder",
    "write_all",
    "write_whole",
]
