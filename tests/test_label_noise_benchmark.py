"""Planted faults of labels are what the list says they are, for a detector that knows the truth."""

from __future__ import annotations

from planted_noise import FRACTIONS, WRONG_BOX_IOU, iou, plant

SIDE = 128


def clean_labels(images: int) -> dict[str, list[dict[str, object]]]:
    """Three boxes an image, apart from each other."""
    corners = [(4.0, 4.0), (70.0, 6.0), (30.0, 80.0)]
    return {
        "images": [{"id": n, "width": SIDE, "height": SIDE} for n in range(images)],
        "annotations": [
            {
                "id": 3 * n + k,
                "image_id": n,
                "category_id": 1 + (n + k) % 3,
                "bbox": [left, top, 30.0, 34.0],
            }
            for n in range(images)
            for k, (left, top) in enumerate(corners)
        ],
        "categories": [{"id": id, "name": str(id)} for id in (1, 2, 3)],
    }


def test_each_object_has_one_fault_at_most_and_the_list_has_them_all() -> None:
    """By the seed, in about the fractions that are stated; what is not listed is untouched."""
    clean = clean_labels(400)
    noisy, planted = plant(clean, 3)
    assert plant(clean, 3) == (noisy, planted)
    assert plant(clean, 4)[1] != planted
    for kind, fraction in FRACTIONS.items():
        count = sum(fault["kind"] == kind for fault in planted)
        assert abs(count / len(clean["annotations"]) - fraction) < 0.02
    before = {row["id"]: row for row in clean["annotations"]}
    after = {row["id"]: row for row in noisy["annotations"]}
    touched = {fault["annotation_id"] for fault in planted}
    for id, row in before.items():
        if id in after and id not in touched:
            assert (row["bbox"], row["category_id"]) == (
                after[id]["bbox"],
                after[id]["category_id"],
            )
    for fault in planted:
        row = after.get(fault["annotation_id"])
        if fault["kind"] == "box":
            low, high = WRONG_BOX_IOU
            assert low <= iou(row["bbox"], fault["bbox"]) <= high
        elif fault["kind"] == "class":
            assert row["category_id"] != fault["category_id"]
        elif fault["kind"] == "doubled":
            assert iou(row["bbox"], after[fault["twin_id"]]["bbox"]) >= 0.75
