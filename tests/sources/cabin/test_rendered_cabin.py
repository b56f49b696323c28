"""The rendered driver: labels against geometry, one stream a topic, determinism, resuming, crashes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the renderer needs scipy; pip install '.[render]'")
pytest.importorskip("mitsuba", reason="the renderer needs mitsuba; pip install '.[render]'")

from contract.errors import Unavailable
from contract.locks import lock_folder
from contract.schemas import CABIN
from sources import render, sheet
from sources.base import LabelledFrames
from sources.cabin import driver, packing, workers
from sources.cabin.assembly import build_scene, build_sensor, trace, whole
from sources.cabin.camera import Camera
from sources.cabin.domains import DOMAINS
from sources.cabin.driver import Cabin
from sources.cabin.identity import Person
from sources.cabin.labels import hidden_fields, landmarks
from sources.cabin.landmarks import LANDMARKS, MIRROR
from sources.cabin.metering import exposure_gain
from sources.cabin.moment import FATIGUE, Moment
from sources.cabin.surfaces import LABELS
from sources.cabin.wig import Wig
from sources.cabin.windows import Window, photograph
from sources.shards import read_shards

try:
    packing.load()
except Unavailable as missing:
    pytest.skip(str(missing), allow_module_level=True)

GAP = 0.03
"""Asked against measured openness: lids are solved by bisection, then pushed clear of the eyeballs."""
LIPS = 0.05
"""Lips that a smile or a frown parts can't be shut by the jaw alone."""
ANGLE = 1e-6
"""Degrees: head and gaze are exact by construction."""
PUPIL = 0.36 * 0.0068
"""Radius of a small pupil, metres."""
RINGS = 0.05
"""By how much a level of fatigue darkens the skin under the eyes, as a share of the cheeks'."""
IN_PICTURE = 0.1
"""Share of a hand's vertices in the picture at least: a wrist and a palm's edge."""
SAMPLING = 0.12
"""Share of the mean radiance by which two pictures of few paths may differ."""
EXPOSURE = 0.2
"""Share by which an accessory may change the exposure: what skin stays bare is lit otherwise (17 % with a mask)."""
PIXEL = 0.02
"""Share of the frame: a landmark's place by the mesh against the renderer's own ray."""

REST: dict[str, Any] = {**sheet.REST, "gender": "male", "age_group": "young", "skin_tone": 0.4}


@pytest.fixture(scope="module")
def cabin() -> Cabin:
    return Cabin(size=16, samples=1)


def moment(cabin: Cabin, subject: int = 3, index: int = 8, **changes: Any) -> Moment:
    return cabin.moment({**REST, **changes}, subject, 5, index)


@pytest.mark.parametrize("openness", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("subject", [1, 2])
def test_lids_open_as_far_as_asked(cabin: Cabin, openness: float, subject: int) -> None:
    measured = moment(cabin, subject, eye_openness=openness, gaze_pitch=-15.0).measured
    assert abs(measured.eyes - openness) < GAP


@pytest.mark.parametrize("openness", [0.1, 0.5, 1.0])
def test_lips_open_as_far_as_asked(cabin: Cabin, openness: float) -> None:
    assert abs(moment(cabin, mouth_openness=openness).measured.mouth - openness) < LIPS


def test_the_measured_gap_is_the_label(cabin: Cabin) -> None:
    asked = {**REST, "eye_openness": 0.4, "mouth_openness": 0.3}
    batch = cabin.draw([asked], [3], 5, [8])
    found = cabin.moment(asked, 3, 5, 8).measured
    assert batch.conditions[0]["eye_openness"] == pytest.approx(found.eyes)
    assert batch.conditions[0]["mouth_openness"] == pytest.approx(found.mouth)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (30.0, 0.0), (-20.0, 15.0), (45.0, -25.0)])
def test_the_head_turns_as_asked(cabin: Cabin, yaw: float, pitch: float) -> None:
    scene = moment(cabin, head_yaw=yaw, head_pitch=pitch)
    ahead = scene.camera.axes.T @ scene.to_head.rotation.T @ np.array([0.0, -1.0, 0.0])  # right, forward, up
    assert np.degrees(np.arctan2(ahead[0], -ahead[1])) == pytest.approx(yaw, abs=ANGLE)
    assert np.degrees(np.arcsin(ahead[2])) == pytest.approx(pitch, abs=ANGLE)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (25.0, -10.0), (-35.0, 25.0)])
def test_the_eyes_turn_as_asked(cabin: Cabin, yaw: float, pitch: float) -> None:
    scene = moment(cabin, gaze_yaw=yaw, gaze_pitch=pitch)
    for side, name in (("L", "eye_L"), ("R", "eye_R")):
        eye = next(item for item in scene.items if item.name == name)
        pupil = eye.vertices[: len(eye.vertices) // 36].mean(axis=0) - scene.sitter.face.centres[side]  # type: ignore[union-attr]
        pupil /= np.linalg.norm(pupil)
        assert np.degrees(np.arctan2(pupil[0], -pupil[1])) == pytest.approx(yaw, abs=0.05)
        assert np.degrees(np.arcsin(pupil[2])) == pytest.approx(pitch, abs=0.05)


def test_positive_yaw_is_towards_the_right_edge(cabin: Cabin) -> None:
    nose = LANDMARKS.index("nose_tip")
    eyes = [LANDMARKS.index("eye_left_outer"), LANDMARKS.index("eye_right_outer")]
    points = landmarks(moment(cabin, head_yaw=30.0))
    assert points[nose, 0] > points[eyes, 0].mean()
    assert points[eyes[0], 0] < points[eyes[1], 0]


def test_mirror_pairs_name_both_sides() -> None:
    assert all(a.replace("left", "right") == b for a, b in MIRROR)
    assert {name for pair in MIRROR for name in pair} | {
        "nose_tip", "mouth_top", "mouth_bottom", "nose_bridge", "chin"
    } == set(LANDMARKS)  # fmt: skip


@pytest.mark.parametrize("distortion", [0.0, 0.1])
def test_a_place_in_the_picture_has_one_ray(distortion: float) -> None:
    camera = Camera(np.zeros(3), np.eye(3), 0.3, (0.1, -0.05), distortion)
    for x, y in ((0.0, 0.0), (0.7, -0.4), (-0.9, 0.9)):
        u, v = camera.undistorted(x, y)
        place = camera.project(np.array([[u * 0.3, 1.0, v * 0.3]]))[0]
        assert place == pytest.approx([(x + 1) / 2, (1 - y) / 2], abs=1e-4)


def test_landmarks_lie_on_the_rendered_face() -> None:
    small = Cabin(size=48, samples=1)
    found = small.draw([{**REST, "head_yaw": 20.0}], [3], 5, [8], with_layers=True)
    classes = found.layers[0].classes
    x, y = (found.landmarks[0, LANDMARKS.index("nose_tip")] * 48).astype(int)
    assert classes[y, x] == 1  # skin
    assert {1, 2, 3} <= set(np.unique(classes))
    eye = (found.landmarks[0, LANDMARKS.index("pupil_left")] * 48).astype(int)
    near = classes[eye[1] - 1 : eye[1] + 2, eye[0] - 1 : eye[0] + 2]
    assert (near == 2).any()
    depth = found.layers[0].depth
    assert 0.4 < depth[y, x] < 0.8


@pytest.mark.parametrize(
    "changes",
    [{"lighting": "night", "sensor": "nir"}, {"accessory": "glasses"}, {"headwear": "hat"}, {"sensor": "nir"}],
)
def test_a_condition_changes_nothing_else(cabin: Cabin, changes: dict[str, Any]) -> None:
    one, two = moment(cabin), moment(cabin, **changes)
    assert one.sitter is two.sitter
    assert np.array_equal(one.moved, two.moved)
    first, second = ({item.name: item for item in scene.items} for scene in (one, two))
    common = set(first) & set(second)
    assert {"skin", "shirt", "cabin_seat", "eye_L", "brows"} <= common
    for name in common:
        points = [getattr(item, "vertices", getattr(item, "points", None)) for item in (first[name], second[name])]
        assert np.array_equal(points[0], points[1]), name
        assert np.array_equal(first[name].material.rgb, second[name].material.rgb) or changes.get("sensor"), name
    assert np.array_equal(one.camera.origin, two.camera.origin)


def test_age_gender_and_tone_leave_a_person_otherwise_alike(cabin: Cabin) -> None:
    young, old = (cabin.sitter(3, "male", age, 0.4) for age in ("young", "senior"))
    assert young.person.changes == old.person.changes
    assert (young.person.crease, young.person.iris) == (old.person.crease, old.person.iris)
    dark, woman = cabin.sitter(3, "male", "young", 0.6), cabin.sitter(3, "female", "young", 0.4)
    assert dark.person.changes == young.person.changes
    assert woman.person.traits.race == young.person.traits.race
    for other in (dark, woman, old):
        assert np.array_equal(other.maps.phases, young.maps.phases)
        assert np.array_equal(other.maps.noise, young.maps.noise)


def test_every_seed_has_its_own_frames(cabin: Cabin) -> None:
    (one, other), _ = zip(*(cabin.conditions(seed, [0]) for seed in (2**63 - 2, 2**63 - 1)), strict=True)
    assert one != other


def test_two_people_differ(cabin: Cabin) -> None:
    a, b = (cabin.sitter(subject, "male", "young", 0.4).vertices for subject in (3, 4))
    assert np.abs(a - b).max() > 0.003


def test_near_infrared_frames_have_one_luminance(cabin: Cabin) -> None:
    frame = cabin.draw([{**REST, "sensor": "nir"}], [3], 5, [8]).frames[0]
    assert (frame == frame[..., :1]).all()


def test_night_is_near_infrared(cabin: Cabin) -> None:
    conditions, _ = cabin.conditions(0, range(200))
    assert all(c["sensor"] == "nir" for c in conditions if c["lighting"] == "night")
    other = [c["sensor"] == "nir" for c in conditions if c["lighting"] != "night"]
    assert 0.2 < np.mean(other) < 0.6


def test_a_sitting_keeps_its_driver(cabin: Cabin) -> None:
    conditions, subjects = cabin.conditions(0, range(8))
    assert len(set(subjects[:4])) == 1
    assert len({c["skin_tone"] for c in conditions[:4]}) == 1


def test_a_frame_depends_on_seed_and_index_alone(cabin: Cabin) -> None:
    together = cabin.render(9, [4, 5])
    alone = Cabin(size=16, samples=1).render(9, [5])
    assert np.array_equal(together.frames[1], alone.frames[0])
    assert np.array_equal(together.landmarks[1], alone.landmarks[0])


def rendered(folder: Path, *more: str) -> LabelledFrames:
    assert render.main([str(folder), "-n", "2", "--size", "16", "--samples", "1", *more]) == 0
    return read_shards(folder)


@pytest.fixture
def tiny_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of two frames, each of them a job of its own."""
    monkeypatch.setattr(render, "SHARD", 2)
    monkeypatch.setattr(driver, "MOMENTS", 1)


@pytest.mark.usefixtures("tiny_shards")
def test_workers_resume_and_crash_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = rendered(tmp_path / "one", "--workers", "1")
    marks = tmp_path / "marks"
    marks.mkdir()
    (marks / "1").touch()
    monkeypatch.setenv(workers.CRASH, str(marks))
    two = rendered(tmp_path / "two", "--workers", "2")
    assert "SIGSEGV" in capsys.readouterr().err
    assert not list(marks.iterdir())
    assert one.fingerprint == two.fingerprint
    assert np.array_equal(one.points, two.points)  # type: ignore[arg-type]
    assert np.array_equal(one.hidden, two.hidden) and np.array_equal(one.subjects, two.subjects)  # type: ignore[arg-type]
    assert one.frames.shape == (2, 16, 16, 3)
    assert one.schema == CABIN
    before = (tmp_path / "one" / "shard-00000.npz").stat().st_mtime_ns
    (tmp_path / "one" / "shard-00001.npz.0123abcd.tmp").touch()  # of a run that was killed
    rendered(tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["shard-00000.npz", "shards.json"]
    assert (tmp_path / "one" / "shard-00000.npz").stat().st_mtime_ns == before
    assert render.main([str(tmp_path / "one"), "-n", "2", "--size", "16", "--samples", "1", "--seed", "1"]) == 1
    assert "describes other frames" in capsys.readouterr().err
    with lock_folder(tmp_path / "three"):
        assert render.main([str(tmp_path / "three"), "-n", "2"]) == 1
    assert "another run is writing it" in capsys.readouterr().err
    assert not list((tmp_path / "three").iterdir())


@pytest.mark.usefixtures("tiny_shards")
def test_other_people_under_the_same_conditions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = rendered(tmp_path / "one", "--workers", "1")
    like = ("--like", str(tmp_path / "one"), "--seed", "7", "--workers", "1")
    two, first = rendered(tmp_path / "two", *like), rendered(tmp_path / "first", *like, "--spread", "1")
    assert np.array_equal(two.conditions, one.conditions)
    assert np.array_equal(first.conditions, one.conditions[[0, 0]])
    assert not set(one.subjects) & set(two.subjects)  # type: ignore[arg-type]
    assert not np.array_equal(one.frames, two.frames)
    assert render.main([str(tmp_path / "two"), "-n", "4", "--size", "16", "--samples", "1", *like]) == 1
    assert "2 frames, 4 conditions are asked for; lower -n" in capsys.readouterr().err
    again = [str(tmp_path / "three"), "-n", "2", "--size", "16", "--samples", "1", "--like", str(tmp_path / "one")]
    assert render.main(again) == 1
    assert "shows the same person under" in capsys.readouterr().err
    assert render.main([str(tmp_path / "three"), "-n", "2", "--spread", "1"]) == 2
    assert "--like DIR, which is missing" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny_shards")
def test_depth_and_masks_lie_beside_the_shard(tmp_path: Path) -> None:
    rendered(tmp_path / "run", "--workers", "1", "--depth-and-masks")
    with np.load(tmp_path / "run" / "layers-00000.npz") as layers:
        assert layers["depth"].shape == layers["classes"].shape == (2, 16, 16)
        assert layers["classes"].max() < len(LABELS)


def test_an_undefined_pixel_takes_its_neighbours_value() -> None:
    radiance = np.full((4, 4, 3), 2.0, dtype=np.float32)
    radiance[1, 2], radiance[3, 3, 0] = np.nan, np.inf
    assert np.array_equal(whole(radiance), np.full((4, 4, 3), 2.0))


def test_a_window_shows_what_the_whole_picture_shows_there(cabin: Cabin) -> None:
    scene = moment(cabin)
    built = build_scene(scene.shapes(), scene.emitters(), scene.to_head)
    window = Window(8, 9, 22, 25)
    pictures = [
        trace(built, 64, 1, False, build_sensor(scene.camera, scene.to_head, 32, crop))
        for crop in (None, (window.left, window.top, window.right - window.left, window.bottom - window.top))
    ]
    whole_picture, cut = pictures[0][window.rows], pictures[1]
    assert cut.shape == whole_picture.shape
    assert np.abs(cut - whole_picture).mean() < SAMPLING * whole_picture.mean()
    moved_by_one = pictures[0][window.top : window.bottom, window.left + 1 : window.right + 1]
    assert np.abs(cut - whole_picture).mean() < 0.7 * np.abs(cut - moved_by_one).mean()


def test_a_window_fades_at_its_border_and_stays_in_the_picture() -> None:
    window = Window.around(np.array([[-0.2, 0.4], [0.3, 0.6]]), 40, (0.0, 0.05))
    assert window == Window(14, 0, 26, 14)
    fade = window.fade()[..., 0]
    assert fade.shape == (12, 14)
    assert fade.max() == 1.0 and 0.0 < fade[0].max() <= 0.25
    assert Window.around(np.array([[1.3, 0.4], [1.5, 0.6]]), 40, (0.0, 0.05)) is None


def test_exposure_follows_skin_and_not_what_is_worn(cabin: Cabin) -> None:
    def gain(**changes: Any) -> float:
        scene = moment(cabin, **changes)
        built = build_scene(scene.shapes(), scene.emitters(), scene.to_head)
        return exposure_gain(built, scene, photograph(built, scene, 48, 9, 1, denoised=False))

    bare = gain()
    for accessory in ("sunglasses", "mask"):
        assert gain(accessory=accessory) == pytest.approx(bare, rel=EXPOSURE)
    assert gain(skin_tone=0.9) < 2.0 * bare  # were every face equally bright, it would be 3.6 times as much


@pytest.mark.parametrize("openness", [0.3, 0.5])
def test_half_shut_eyes_show_part_of_the_pupil(cabin: Cabin, openness: float) -> None:
    scene = moment(cabin, eye_openness=openness)
    face = scene.sitter.face
    for side in "LR":
        lid = float(scene.moved[face.upper[side]][1:3, 2].mean())
        assert lid > face.centres[side][2] - PUPIL


@pytest.mark.parametrize("sensor", ["rgb", "nir"])
def test_every_level_of_fatigue_darkens_what_lies_under_the_eyes(cabin: Cabin, sensor: str) -> None:
    maps = cabin.sitter(3, "female", "young", 0.4).maps
    under, cheek = maps.fields["circles"] > 0.5, maps.fields["cheek"] > 0.5
    contrast = []
    for fatigue in FATIGUE.values():
        albedo = maps.albedo(sensor, fatigue).mean(axis=-1)
        contrast.append(albedo[under].mean() / albedo[cheek].mean())
    assert (np.diff(contrast) < -RINGS).all()


def test_the_middle_aged_are_going_grey() -> None:
    def grey(age: str) -> list[float]:
        return [Wig.draw(Person.draw(packing.load(), 1, subject, "male", age, 0.4)).grey for subject in range(8)]

    assert max(grey("young")) == 0.0
    assert min(grey("middle")) >= 0.2
    assert max(grey("middle")) < min(grey("senior"))


def test_the_camera_sees_a_hand_that_adjusts_something(cabin: Cabin) -> None:
    for index in range(8, 64, 4):
        scene = moment(cabin, index=index, distraction_type="adjusting")
        hand = np.concatenate([item.vertices for item in scene.items if item.label == "hand" and item.name == "hand"])
        places = scene.camera.project(scene.to_world(hand))
        assert ((places > 0) & (places < 1)).all(axis=1).mean() > IN_PICTURE


def test_a_gesture_out_of_sight_is_not_a_label(cabin: Cabin) -> None:
    scene = moment(cabin, distraction_type="phone")
    built = build_scene(scene.shapes(), scene.emitters(), scene.to_head)
    assert "distraction_type" not in hidden_fields(built, scene, scene.condition)
    gone = replace(scene, items=[item for item in scene.items if item.label not in ("hand", "object")])
    built = build_scene(gone.shapes(), gone.emitters(), gone.to_head)
    assert "distraction_type" in hidden_fields(built, gone, scene.condition)
    idle = moment(cabin)
    built = build_scene(idle.shapes(), idle.emitters(), idle.to_head)
    assert "distraction_type" not in hidden_fields(built, idle, idle.condition)


def test_no_two_domains_share_a_driver() -> None:
    keys = [set(domain.key(np.arange(domain.subjects)).tolist()) for domain in DOMAINS.values()]
    assert len(set.union(*keys)) == sum(len(own) for own in keys)


@pytest.mark.parametrize(
    "argv", [["x", "-n", "0"], ["x"], ["x", "-n", "1", "--domain", "moon"], ["x", "-n", "1", "--size", "7"]]
)
def test_bad_arguments_end_with_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert render.main(argv) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_sheet_needs_a_picture_name() -> None:
    assert sheet.main(["-o", "sheet.txt"]) == 2


def test_a_missing_mesh_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install '\.\[render\]'"):
        packing._data_folder()
