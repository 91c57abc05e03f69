"""One process of a run: its devices, its peers, its signals, its randomness."""

import lazy_loader

# Found on first use; __init__.pyi says where each of them lives.
__all__ = [
    "LOCK_NAME",
    "SAME_REQUEST_SECONDS",
    "Devices",
    "FolderInUseError",
    "Launch",
    "LaunchError",
    "MeetingPoint",
    "OutOfMemoryError",
    "PeerEndedError",
    "RendezvousError",
    "Tell",
    "check_launch",
    "choose_devices",
    "choose_gpu_ids",
    "current_launch",
    "ending_signals",
    "folder_locked",
    "gather_objects",
    "is_first_process",
    "is_launched",
    "join_processes",
    "joined_ranks",
    "launched_local_rank",
    "leave_signals_to_the_run",
    "memory_named",
    "peers_named",
    "quiet_lightning",
    "read_launch",
    "seed_batch",
    "seed_run",
    "signals_held",
]

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
