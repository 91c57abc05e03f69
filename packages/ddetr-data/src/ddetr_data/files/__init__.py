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
from ddetr_data.files.regular import (
    check_regular,
    is_of_this_process,
    is_open_stream,
    open_regular,
    read_regular,
)

__all__ = [
    "CHUNK_BYTES",
    "LONGEST_NAME",
    "Content",
    "DamagedFileError",
    "EncryptionError",
    "NotEncryptedError",
    "WrongKeyError",
    "check_regular",
    "decrypt",
    "discard_folder",
    "encrypting",
    "file_digests",
    "fitting_name",
    "is_encrypted",
    "is_of_this_process",
    "is_open_stream",
    "model_source",
    "naming",
    "open_regular",
    "opened",
    "read_regular",
    "remove_leftovers",
    "replacing",
    "replacing_all",
    "staged",
    "whole_folder",
    "write_all",
    "write_whole",
]
