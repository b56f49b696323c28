"""The public data sets in miniature: the layout on disk and its traps, with images of a few pixels.

Videos are files of a few bytes, since no loader opens one. `MINIATURES` names them by their layouts.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image


def jpeg(width: int = 8, height: int = 6) -> bytes:
    """A grey JPEG."""
    buffer = io.BytesIO()
    Image.new("L", (width, height), 90).save(buffer, "jpeg")
    return buffer.getvalue()


IMAGE, VIDEO = jpeg(), b"\0\0\0\x18ftypmp42"


def write(folder: Path, names: Sequence[str], content: bytes = IMAGE) -> None:
    """The same file at several places."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def litter(folder: Path, name: str) -> None:
    """What archives and file managers leave beside the data."""
    write(folder, ["Thumbs.db", ".DS_Store", f"__MACOSX/._{name}", f"._{name}", "readme.txt"], b"\0\1\2")


def state_farm(folder: Path) -> None:
    """Classes c0 to c9 of two drivers; a BOM and Windows line ends in the table; test images without a driver."""
    rows = [(f"p{2 + n % 2:03d}", f"c{n}", f"img_{n}.jpg") for n in range(10)]
    write(folder, [f"imgs/train/{classname}/{img}" for _, classname, img in rows] + ["imgs/test/img_99.jpg"])
    table = "\r\n".join(["subject,classname,img", *map(",".join, rows)]) + "\r\n"
    (folder / "driver_imgs_list.csv").write_bytes(b"\xef\xbb\xbf" + table.encode())
    litter(folder / "imgs/train/c0", "img_0.jpg")


def mrl_eye(folder: Path) -> None:
    """Two subjects, all values of each part."""
    names = [
        "s0001/s0001_00001_0_0_0_0_0_01.png",
        "s0001/s0001_00002_0_1_1_2_1_02.png",
        "s0012/s0012_00001_1_0_1_1_0_03.png",
    ]
    write(folder / "mrlEyes_2018_01", names)
    litter(folder, "s0001_00001_0_0_0_0_0_01.png")


def columbia_gaze(folder: Path) -> None:
    """Two subjects; a minus sign belongs to the number, and a plus is left out."""
    root = folder / "Columbia Gaze Data Set"
    write(root, ["0001/0001_2m_-15P_-10V_-10H.jpg", "0001/0001_2m_0P_0V_0H.jpg", "0002/0002_2m_30P_10V_15H.JPG"])
    litter(root, "0001_2m_0P_0V_0H.jpg")


def sam_dd(folder: Path) -> None:
    """Two testers, two views, the behaviours that are described and one that isn't."""
    write(folder / "SAM-DD(RGB)/Tester1", [f"{n}/side_RGB/img_1.jpg" for n in range(10)] + ["0/front_RGB/img_1.jpg"])
    write(folder / "SAM-DD(RGB)/Tester12", ["5/side_RGB/img_10.jpg"])
    litter(folder, "img_1.jpg")


def uta_rldd(folder: Path) -> None:
    """Two folds; endings of any kind and case; a video that is cut into parts; 1 and 01 are the same person."""
    write(folder, ["Fold1_part1/01/0.mov", "Fold1_part1/01/5.MOV", "Fold1_part1/01/10_1.mp4"], VIDEO)
    write(folder, ["Fold1_part1/01/10_2.mp4", "Fold2_part1/13/0.m4v", "Fold2_part1/13/10.m4v"], VIDEO)
    litter(folder, "0.mov")


def yawdd(folder: Path) -> None:
    """Numbers that men and women share, an ending that stands twice, a folder with a space at its end."""
    write(folder, ["Mirror/Female_mirror/1-FemaleNoGlasses-Normal.avi"], VIDEO)
    write(folder, ["Mirror/Female_mirror/1-FemaleGlasses-Talking&Yawning.avi"], VIDEO)
    write(folder, ["Mirror/Male_mirror /1-MaleSunGlasses-Yawning.avi", "Dash/Dash/Male/1-MaleGlasses.avi"], VIDEO)
    write(folder, ["Dash/Dash/Female/11-FemaleGlasses.avi.avi"], VIDEO)
    litter(folder, "1-FemaleNoGlasses.avi")


def nthu(folder: Path) -> None:
    """Training and evaluation; night with and without an underline, even of one clip; annotations that lack."""
    train, test = folder / "Training Dataset/001", folder / "Evaluation Dataset/004"
    write(train, ["glasses/sleepyCombination.avi", "night_noglasses/yawning.avi", "nightglasses/yawning.avi"], VIDEO)
    digits = {"drowsiness": "000111", "head": "000011", "mouth": "000000", "eye": "001111"}
    for kind, text in digits.items():
        (train / f"glasses/001_sleepyCombination_{kind}.txt").write_text(text + "\n")
    write(test, ["004_nightnoglasses_mix.mp4"], VIDEO)
    (test / "004_night_noglasses_mixing_drowsiness.txt").write_text("1100")
    litter(folder, "sleepyCombination.avi")


def nthu_frames(folder: Path) -> None:
    """The copies of single frames, whose labels stand in folder and name."""
    write(folder / "drowsy", ["001_glasses_sleepyCombination_599_drowsy.jpg"])
    write(folder / "notdrowsy", ["001_glasses_nonsleepyCombination_0_notdrowsy.jpg"])
    write(folder / "notdrowsy", ["002_night_noglasses_slowBlinkWithNodding_12_notdrowsy.jpg"])
    litter(folder, "001_glasses_sleepyCombination_599_drowsy.jpg")


ACTIONS = {
    "driver_actions/safe_drive": [(0, 9)],
    "driver_actions/texting_right": [(10, 14), (20, 24)],
    "driver_actions/change_gear": [(15, 19)],
    "gaze_on_road/not_looking_road": [(12, 22)],
}
"""The last frame of an interval belongs to it."""

SHIFTS = {"body": 3, "hands": -2}
"""Hands began first, then the face, then the body."""


def dmd_annotation(root: str, actions: Mapping[str, Sequence[tuple[int, int]]] = ACTIONS) -> dict[str, Any]:
    """An annotation in OpenLABEL, or in VCD 4.3, which keeps streams below the metadata."""
    intervals = {
        kind: [{"frame_start": start, "frame_end": end} for start, end in spans] for kind, spans in actions.items()
    }
    streams: dict[str, Any] = {"face_camera": {"stream_properties": {"total_frames": 25}}}
    for camera, shift in SHIFTS.items():
        streams[f"{camera}_camera"] = {"stream_properties": {"sync": {"frame_shift": shift}, "total_frames": 24}}
    content: dict[str, Any] = {
        "actions": {
            str(uid): {"name": "", "type": kind, "frame_intervals": spans}
            for uid, (kind, spans) in enumerate(intervals.items())
        },
    }
    content |= {"streams": streams} if root == "openlabel" else {"metadata": {"streams": streams}}
    return {root: content}


def dmd(folder: Path) -> None:
    """One session in OpenLABEL with three cameras and infrared, one in VCD 4.3 with the face alone."""
    for place, root, videos, task in (
        (
            "dmd/gA/1/s1/gA_1_s1_2019-03-08T09;31;15+01;00",
            "openlabel",
            ("rgb_face", "rgb_body", "ir_hands"),
            "distraction",
        ),
        ("dmd/gB/10/s5/gB_10_s5_2019-03-12T10;35;20+01;00", "vcd", ("rgb_face",), "drowsiness"),
    ):
        write(folder, [f"{place}_{video}.mp4" for video in videos], VIDEO)
        actions = ACTIONS if root == "openlabel" else {"eyes_state/open": [(0, 4)], "eyes_state/close": [(5, 8)]}
        (folder / f"{place}_rgb_ann_{task}.json").write_text(json.dumps(dmd_annotation(root, actions)))
    litter(folder, "gA_1_s1_rgb_face.mp4")


def drive_act(folder: Path) -> None:
    """One camera with its three tables; an activity with a comma and a bracket; a second split of the same chunks."""
    header = "participant_id,file_id,annotation_id,frame_start,frame_end,activity,chunk_id"
    run = "run1b_2018-05-29-14-02-47.ids_1"
    rows = {
        "train": [f"1,vp1/{run},0,0,90,sitting_still,0", f"1,vp1/{run},1,90,180,interacting_with_phone,0"],
        "val": [f'2,vp2/{run},0,5,95,"looking_or_moving_around (e.g. searching, left)",0'],
        "test": [f"3,vp3/{run},0,0,48,drinking,0"],
    }
    place = folder / "activities_3s/inner_mirror"
    place.mkdir(parents=True)
    for number, order in enumerate((("train", "val", "test"), ("test", "train", "val"))):
        for split, of in zip(rows, order, strict=True):
            text = "\n".join([header, *rows[of]]) + "\n"
            (place / f"midlevel.chunks_90.split_{number}.{split}.csv").write_text(text)
    write(folder / "inner_mirror", [f"vp1/{run}.mp4", f"vp2/{run}.mp4"], VIDEO)
    write(folder / "data/inner_mirror", [f"vp3/{run}.mp4"], VIDEO)
    litter(folder, f"{run}.mp4")


MINIATURES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "state-farm": ("state-farm", state_farm),
    "mrl-eye": ("mrl-eye", mrl_eye),
    "columbia-gaze": ("columbia-gaze", columbia_gaze),
    "sam-dd": ("sam-dd", sam_dd),
    "uta-rldd": ("uta-rldd", uta_rldd),
    "yawdd": ("yawdd", yawdd),
    "nthu-ddd": ("nthu-ddd", nthu),
    "nthu-ddd, frames": ("nthu-ddd", nthu_frames),
    "dmd": ("dmd", dmd),
    "drive-act": ("drive-act", drive_act),
}
"""Layout and maker of each."""
