"""One process of a run: its devices, its peers, its signals, its randomness."""

import lazy_loader

# Found on first use; __init__.pyi says where each of them lives.
__all__ = [
    "LOCK_NAME",
    "Devices",
    "FolderInUseError",
    "Launch",
    "LaunchError",
    "PeerEndedError",
    "check_launch",
    "choose_devices",
    "choose_gpu_ids",
    "current_launch",
    "folder_locked",
    "gather_objects",
    "interrupt_held",
    "is_first_process",
    "is_launched",
    "joined_ranks",
    "launched_local_rank",
    "leave_signals_to_the_run",
    "peers_named",
    "quiet_lightning",
    "read_launch",
    "seed_batch",
    "seed_run",
]

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
