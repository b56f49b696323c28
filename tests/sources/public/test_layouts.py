"""Each public layout in miniature: records, drivers, spans and labels as expected, and what is refused."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from contract.errors import Refused
from contract.schemas import CABIN
from sources.public.layouts import LAYOUTS, layout_of
from sources.public.record import Layout, Sample, read_layout
from sources.splits import check_splits, split_by_driver
from tests.sources.public.miniatures import MINIATURES


def made(name: str, folder: Path) -> tuple[str, Path]:
    layout, maker = MINIATURES[name]
    folder.mkdir(parents=True, exist_ok=True)
    maker(folder)
    return layout, folder


def read(name: str, folder: Path) -> list[Sample]:
    """The samples of a miniature."""
    layout, _ = made(name, folder)
    return read_layout(folder, LAYOUTS[layout], CABIN)


def by_name(samples: list[Sample]) -> dict[str, Sample]:
    """The same by file name, where each has its own."""
    assert len({sample.file.name for sample in samples}) == len(samples)
    return {sample.file.name: sample for sample in samples}


@pytest.mark.parametrize("name", MINIATURES)
def test_a_folder_is_recognised_and_its_drivers_can_be_split(name: str, tmp_path: Path) -> None:
    layout, folder = made(name, tmp_path)
    found = layout_of(folder)
    assert found is not None and found.name == layout
    samples = read_layout(folder, found, CABIN)
    assert all(sample.driver and sample.file.is_file() for sample in samples)
    drivers = [sample.driver for sample in samples]
    splits = split_by_driver(drivers, {"train": 0.5, "test": 0.5})
    check_splits((driver, split, "") for driver, split in zip(drivers, splits, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_mapping_fits_the_schema_and_every_layout_says_where_from(layout: Layout, tmp_path: Path) -> None:
    named = {n for column in layout.mapping.columns.values() for sets in column.values.values() for n in sets}
    assert named <= set(CABIN.names)
    assert layout.sources and layout.cautions
    with pytest.raises(Refused, match=r"no record|csv: missing"):
        read_layout(tmp_path, layout, CABIN)


def test_state_farm(tmp_path: Path) -> None:
    found = by_name(read("state-farm", tmp_path))
    expected = ["none", *["phone"] * 4, "adjusting", "eating", *["other"] * 3]
    assert [found[f"img_{n}.jpg"].labels for n in range(10)] == [{"distraction_type": value} for value in expected]
    assert [found[f"img_{n}.jpg"].driver for n in range(4)] == ["p002", "p003", "p002", "p003"]
    assert len(found) == 10, "test images have no driver"


def test_mrl_eye(tmp_path: Path) -> None:
    found = {name[:11]: sample for name, sample in by_name(read("mrl-eye", tmp_path)).items()}
    assert found["s0001_00001"].labels == {"gender": "male", "eye_openness": 0.0, "sensor": "nir"}
    assert found["s0001_00002"].labels == {"gender": "male", "accessory": "glasses", "sensor": "nir"}
    assert found["s0001_00002"].raw["reflections"] == "2", "what doesn't map stays as it is"
    assert (
        found["s0012_00001"].labels == {"gender": "female", "sensor": "nir"} and found["s0012_00001"].driver == "s0012"
    )


def test_columbia_gaze(tmp_path: Path) -> None:
    found = by_name(read("columbia-gaze", tmp_path))
    turned = found["0001_2m_-15P_-10V_-10H.jpg"]
    assert turned.raw == {"head_pose": "-15", "gaze_vertical": "-10", "gaze_horizontal": "-10", "distance": "2m"}
    assert turned.labels == {}, "signs aren't described"
    assert found["0001_2m_0P_0V_0H.jpg"].labels == {"head_yaw": 0.0, "gaze_pitch": 0.0, "gaze_yaw": 0.0}
    assert found["0002_2m_30P_10V_15H.JPG"].driver == "0002"


def test_sam_dd(tmp_path: Path) -> None:
    samples = read("sam-dd", tmp_path)
    labels = {s.raw["behaviour"]: s.labels.get("distraction_type") for s in samples if s.driver == "1"}
    assert list(labels.values()) == ["none", "eating", *["phone"] * 4, None, None, "other", None]
    assert {s.driver for s in samples} == {"1", "12"} and {s.raw["view"] for s in samples} == {"side_RGB", "front_RGB"}


def test_uta_rldd(tmp_path: Path) -> None:
    samples = read("uta-rldd", tmp_path)
    found = [(s.driver, s.split, s.clip["state"]) for s in samples]
    states = ["alert", "drowsy", "drowsy", "low vigilant"]
    assert found[:4] == [("01", "Fold1", state) for state in states]
    assert found[4:] == [("13", "Fold2", "alert"), ("13", "Fold2", "drowsy")]
    assert not any(s.labels for s in samples), "a state of ten minutes is no label of a frame"


def test_yawdd(tmp_path: Path) -> None:
    found = by_name(read("yawdd", tmp_path))
    drivers = {name: sample.driver for name, sample in found.items()}
    assert (
        drivers["1-FemaleNoGlasses-Normal.avi"] == drivers["1-FemaleGlasses-Talking&Yawning.avi"] == "mirror-female-1"
    )
    assert drivers["1-MaleSunGlasses-Yawning.avi"] == "mirror-male-1"
    assert drivers["1-MaleGlasses.avi"] == "dash-male-1", "another person, as far as is known"
    assert found["11-FemaleGlasses.avi.avi"].labels == {"gender": "female", "accessory": "glasses"}
    assert found["1-MaleSunGlasses-Yawning.avi"].labels == {"gender": "male", "accessory": "sunglasses"}
    assert found["1-FemaleGlasses-Talking&Yawning.avi"].clip == {"behaviour": "talking&yawning"}


def test_nthu(tmp_path: Path) -> None:
    found = read("nthu-ddd", tmp_path)
    day = [s for s in found if s.file.name == "sleepyCombination.avi"]
    assert [s.span for s in day] == [(0, 2), (2, 3), (3, 4), (4, 6)], "where one of the four annotations changes"
    glasses = {"lighting": "day", "accessory": "glasses", "sensor": "nir"}
    assert day[0].labels == glasses | {"fatigue_level": "normal"}
    assert day[3].labels == glasses, "drowsy has no level"
    assert day[3].raw == {"scenario": "glasses", "drowsiness": "1", "head": "1", "mouth": "0", "eye": "1"}
    night = [s for s in found if s.file.name == "004_nightnoglasses_mix.mp4"]
    assert [(s.span, s.split, s.driver) for s in night] == [
        ((0, 2), "evaluation", "004"),
        ((2, 4), "evaluation", "004"),
    ]
    assert night[0].labels == {"lighting": "night", "accessory": "none", "sensor": "nir"}
    bare = [s for s in found if s.file.name == "yawning.avi"]
    assert [(s.raw["scenario"], s.span) for s in bare] == [("night_noglasses", None), ("night_glasses", None)]


def test_nthu_frames(tmp_path: Path) -> None:
    found = by_name(read("nthu-ddd, frames", tmp_path))
    assert found["001_glasses_sleepyCombination_599_drowsy.jpg"].raw["drowsiness"] == "1"
    normal = found["001_glasses_nonsleepyCombination_0_notdrowsy.jpg"]
    assert normal.labels["fatigue_level"] == "normal" and normal.driver == "001"
    assert found["002_night_noglasses_slowBlinkWithNodding_12_notdrowsy.jpg"].labels["lighting"] == "night"


def test_dmd(tmp_path: Path) -> None:
    samples = read("dmd", tmp_path)
    spans: dict[str, list[object]] = defaultdict(list)
    for sample in samples:
        if sample.driver == "1":
            spans[sample.raw["camera"]].append((sample.span, sample.labels.get("distraction_type")))
    whole = [((0, 10), "none"), ((10, 12), "phone"), ((12, 15), "phone"), ((15, 20), None), ((20, 23), "phone")]
    # Hands began first, so that they show frame 0; the face came 2 frames later, the body 5.
    assert spans["hands"] == [*whole, ((23, 24), "phone")], "its video has 24 frames"
    assert spans["face"] == [(_moved(span, 2), label) for span, label in [*whole, ((23, 25), "phone")]]
    assert spans["body"][:2] == [((0, 5), "none"), ((5, 7), "phone")]
    sensors = {s.raw["camera"]: s.labels["sensor"] for s in samples if s.driver == "1"}
    assert sensors == {"face": "rgb", "body": "rgb", "hands": "nir"}
    eyes = [(s.span, s.labels.get("eye_openness")) for s in samples if s.driver == "10"]
    assert eyes == [((0, 3), None), ((3, 7), 0.0)], "VCD 4.3"
    texting = [s for s in samples if s.raw.get("gaze_on_road") and s.raw["camera"] == "face"]
    assert texting[0].raw["driver_actions"] == "texting_right", "levels beside each other"


def _moved(span: tuple[int, int], by: int) -> tuple[int, int]:
    return max(0, span[0] - by), span[1] - by


def test_drive_act(tmp_path: Path) -> None:
    found = {s.raw["activity"]: s for s in read("drive-act", tmp_path)}
    assert found["sitting_still"].labels == {"distraction_type": "none"}
    assert found["interacting_with_phone"].span == (90, 180) and found["interacting_with_phone"].driver == "vp1"
    assert found["drinking"].labels == {"distraction_type": "eating"} and found["drinking"].split == "test"
    assert found["looking_or_moving_around (e.g. searching, left)"].labels == {}
    assert len(found) == 4, "of the first of the splits"


REFUSED = {
    "state-farm": [
        ("driver_imgs_list.csv", b"subject,classname,img\n,c0,img_0.jpg\n", r"driver_imgs_list.csv:2: no subject"),
        ("driver_imgs_list.csv", b"subject,classname,img\np1,c11,a.jpg\n", r":2: class 'c11'; expected c0 to c9"),
        ("driver_imgs_list.csv", b"subject,classname,img\np1,c0,a.jpg\np1,c0,a.jpg\n", r":3: c0/a.jpg stands twice"),
        ("driver_imgs_list.csv", b"subject,classname,img\np1,c0,a.jpg\n", r"img_0.jpg: not in driver_imgs_list.csv"),
        ("imgs/train/c3/img_3.jpg", None, r"c3/img_3.jpg: missing, though driver_imgs_list.csv lists it"),
    ],
    "mrl-eye": [
        ("mrlEyes_2018_01/s0001/x.png", b"", "x.png: expected a name like s0001"),
        ("mrlEyes_2018_01/s0001/s0012_00009_1_0_1_1_0_03.png", b"", "an image of s0012 in the folder of s0001"),
    ],
    "columbia-gaze": [
        ("Columbia Gaze Data Set/0001/0001_2m_-17P_0V_0H.jpg", b"", "head_pose -17; expected one of -30"),
        ("Columbia Gaze Data Set/0001/0001_2m_0P_0V.jpg", b"", "expected a name like 0001_2m"),
    ],
    "sam-dd": [
        ("SAM-DD(RGB)/Tester1/12/side_RGB/img_1.jpg", b"", "behaviour '12'; expected a folder 0 to 9"),
        ("SAM-DD(RGB)/img_1.jpg", b"", "img_1.jpg: expected Tester1/0/side_RGB/img_1.jpg"),
    ],
    "uta-rldd": [
        ("Fold1_part1/01/7.mov", b"", "7.mov: expected a video called 0, 5 or 10"),
        ("Fold1_part1/Anna/0.mov", b"", "lies in 'Anna'; expected the folder of a participant"),
        ("Fold3_part1/01/0.mov", b"", "driver '01' is in the splits 'Fold1' and 'Fold3'"),
    ],
    "yawdd": [
        ("Mirror/holiday.avi", b"", "holiday.avi: expected a name like 1-FemaleNoGlasses-Yawning.avi"),
        ("1-MaleGlasses.avi", b"", "below neither Mirror nor Dash"),
    ],
    "nthu-ddd": [
        (
            "Training Dataset/001/glasses/001_sleepyCombination_eye.txt",
            b"0012",
            r"_eye.txt: \['2'\]; expected one digit",
        ),
        (
            "Training Dataset/001/glasses/001_sleepyCombination_eye.txt",
            b"00",
            "_eye.txt: 2 frames; its neighbours have 6",
        ),
        ("Training Dataset/001/glasses/001_sleepyCombination_eye.txt", b"\xff", "_eye.txt: not UTF-8 text"),
        ("Training Dataset/001/fog/yawning.avi", b"", "fog/yawning.avi: expected 001/glasses/sleepyCombination.avi"),
    ],
    "drive-act": [
        ("inner_mirror/vp1/run1b_2018-05-29-14-02-47.ids_1.mp4", None, "train.csv:2: .*ids_1.mp4 is missing"),
        (
            "activities_3s/inner_mirror/midlevel.chunks_90.split_0.val.csv",
            b"participant_id,file_id,frame_start,frame_end,activity\n2,vp2/a,9,5,x\n",
            "val.csv:2: frames '9' to '5'",
        ),
        (
            "activities_3s/inner_mirror/midlevel.chunks_90.split_0.val.csv",
            b"participant_id,file_id,frame_start,frame_end,activity\n2,../../a,0,5,x\n",
            "val.csv:2: file_id '../../a'; expected one of participant vp2",
        ),
        (
            "activities_3s/inner_mirror/midlevel.chunks_90.split_0.val.csv",
            b"participant_id,file_id,frame_start,frame_end,activity\n1,vp1/run1b_2018-05-29-14-02-47.ids_1,0,5,x\n",
            "driver 'vp1' is in the splits",
        ),
    ],
}


@pytest.mark.parametrize(
    ("name", "path", "content", "message"),
    [(name, *case) for name, cases in REFUSED.items() for case in cases],
)
def test_what_is_refused(name: str, path: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    layout, folder = made(name, tmp_path)
    if content is None:
        (folder / path).unlink()
    else:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    with pytest.raises(Refused, match=message):
        read_layout(folder, LAYOUTS[layout], CABIN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "one object under openlabel or vcd"),
        ('{"openlabel": {}, "vcd": {}}', "one object under openlabel or vcd"),
        ('{"openlabel": {}}', "no actions"),
        ('{"openlabel": {"actions": {"0": {"type": "a/b"}}}}', "action '0'; expected a type and frame_intervals"),
        (
            '{"vcd": {"actions": {"0": {"type": "a/b", "frame_intervals": [{"frame_start": 5, "frame_end": 2}]}}}}',
            "a/b from 5 to 2; expected frames in order",
        ),
        (
            '{"vcd": {"actions": {"0": {"type": "a", "frame_intervals": [{"frame_start": 0, "frame_end": 1e9}]}}}}',
            "a from 0 to 1000000000.0; expected frames in order",
        ),
        (
            '{"openlabel": {"actions": {}, "streams": {"body_camera": {"stream_properties": {"sync":'
            ' {"frame_shift": "3"}}}}}}',
            "frame_shift '3' of body_camera; expected a number of frames",
        ),
    ],
)
def test_damaged_annotations_of_dmd(content: str, message: str, tmp_path: Path) -> None:
    layout, folder = made("dmd", tmp_path)
    path = next(folder.rglob("gA*_ann_distraction.json"))
    path.write_text(content)
    with pytest.raises(Refused, match=message) as error:
        read_layout(folder, LAYOUTS[layout], CABIN)
    assert path.name in str(error.value)


def test_a_session_without_its_videos_is_refused(tmp_path: Path) -> None:
    layout, folder = made("dmd", tmp_path)
    for video in folder.rglob("gB*.mp4"):
        video.unlink()
    with pytest.raises(Refused, match=r"gB.*json: none of its videos"):
        read_layout(folder, LAYOUTS[layout], CABIN)


def test_no_folder_is_no_data_set(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path)
    assert layout_of(tmp_path) is None
    with pytest.raises(Refused, match="no such file or folder; expected SAM-DD"):
        read_layout(tmp_path, LAYOUTS["sam-dd"], CABIN)
