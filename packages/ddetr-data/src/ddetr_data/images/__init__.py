"""Images and videos: found, decoded, turned, resized, drawn on."""

from ddetr_data.images.coordinate_frames import (
    UNTRUE_SIZE,
    fit_objects,
    move_boxes,
    size_fault,
    turn_boxes,
)
from ddetr_data.images.decoding import (
    ImageFacts,
    check_whole,
    read_facts,
    read_header,
    read_image,
    read_image_size_wh,
)
from ddetr_data.images.drawing import DrawnBox, class_colors, draw_boxes, draw_detections, palette
from ddetr_data.images.folder import find_images, walk_images
from ddetr_data.images.kinds import (
    IMAGE_ENDINGS,
    copy_ending,
    format_of_ending,
    has_image_ending,
    image_formats,
)
from ddetr_data.images.orientation import ImageHeader
from ddetr_data.images.placeholder_sizes import find_placeholders
from ddetr_data.images.preprocessing import (
    PreprocessConfig,
    dataset_white,
    image_batches,
    open_image,
    pad_batch,
    preprocess,
    resized_hw,
    shortest_edge_hw,
)
from ddetr_data.images.saving import (
    UnwritableImageError,
    is_of_one_file,
    jpeg_address,
    save_image,
)
from ddetr_data.images.video import (
    Frame,
    Video,
    can_read_videos,
    find_videos,
    is_video,
    open_video,
)
from ddetr_data.images.white_levels import USUAL_WHITE, WhiteLevels

__all__ = [
    "IMAGE_ENDINGS",
    "UNTRUE_SIZE",
    "USUAL_WHITE",
    "DrawnBox",
    "Frame",
    "ImageFacts",
    "ImageHeader",
    "PreprocessConfig",
    "UnwritableImageError",
    "Video",
    "WhiteLevels",
    "can_read_videos",
    "check_whole",
    "class_colors",
    "copy_ending",
    "dataset_white",
    "draw_boxes",
    "draw_detections",
    "find_images",
    "find_placeholders",
    "find_videos",
    "fit_objects",
    "format_of_ending",
    "has_image_ending",
    "image_batches",
    "image_formats",
    "is_of_one_file",
    "is_video",
    "jpeg_address",
    "move_boxes",
    "open_image",
    "open_video",
    "pad_batch",
    "palette",
    "preprocess",
    "read_facts",
    "read_header",
    "read_image",
    "read_image_size_wh",
    "resized_hw",
    "save_image",
    "shortest_edge_hw",
    "size_fault",
    "turn_boxes",
    "walk_images",
]
