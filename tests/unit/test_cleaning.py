"""From bodies to people: each rule of each way of cleaning, on bodies made for it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from kinegraph.data.cleaning import CLEANINGS
from kinegraph.data.cleaning.aligned import align, clean_and_align
from kinegraph.data.cleaning.as_recorded import every_body
from kinegraph.data.cleaning.bodies import (
    MOST_WIDE,
    Sightings,
    follow_bodies,
    motion,
    wide_frames,
)
from kinegraph.data.cleaning.denoised import clean, denoise, move_to_first_frame
from kinegraph.data.cleaning.first_two import first_two
from kinegraph.data.cleaning.pyskl import clean_as_pyskl
from kinegraph.errors import ClipError

Joints = NDArray[np.float32]
Seen = Mapping[int, tuple[range, Joints]]  # id -> the frames it is seen in, and its joints

A, B, C, D = 72057594037930937, 72057594037930938, 5, 6  # A and B are one number as floats


def body(frames: int, seed: int = 0, *, wide: int = 0, size: float = 1.0) -> Joints:
    """Make (T, 25, 3) of a body that stands; in the first ``wide`` frames it lies instead."""
    random = np.random.default_rng(seed)
    joints = random.uniform(-0.25, 0.25, (frames, 25, 3)) * size
    joints[..., 1] *= 4
    joints[:wide] = joints[:wide, :, [1, 0, 2]]
    return (joints + np.array([0.5, 0.2, 3.0])).astype(np.float32)


def seen(frames: int, bodies: Seen) -> Sightings:
    """Put bodies into the frames in which they are seen, in the order given."""
    counts, ids, joints = np.zeros(frames, dtype=np.int64), [], []
    for frame in range(frames):
        for number, (when, points) in bodies.items():
            if frame in when:
                counts[frame] += 1
                ids.append(number)
                joints.append(points[list(when).index(frame)])
    return Sightings(
        counts, np.array(ids, dtype=np.int64), np.array(joints, np.float32).reshape(-1, 25, 3)
    )


def through(frames: int, seed: int, first: int = 0, **how: float) -> tuple[range, Joints]:
    when = range(first, first + frames)
    return when, body(frames, seed, **how)  # type: ignore[arg-type]


def test_bodies_are_followed_by_whole_ids_and_gaps_are_closed() -> None:
    first, second = body(3, 1), body(2, 2)
    found = follow_bodies(
        seen(6, {A: (range(0, 6, 2), first), B: (range(2, 4), second)})  # frames 1 and 5 are empty
    )
    assert [each.id for each in found] == [A, B]
    assert [each.frames.tolist() for each in found] == [[0, 2, 4], [2, 3]]
    assert [(each.start, each.end) for each in found] == [(0, 2), (1, 2)]
    assert np.array_equal(found[0].joints, first)
    assert np.array_equal(found[1].joints, second)


def test_the_same_body_twice_in_a_frame_is_an_error() -> None:
    points = body(3)
    sightings = Sightings(np.array([1, 0, 2]), np.array([A, A, A]), points)
    with pytest.raises(ClipError, match=f"frame 2 has body {A} twice"):
        follow_bodies(sightings)
    assert np.array_equal(first_two(sightings)[:, 2], points[1:])  # which asks no id


@pytest.mark.parametrize("name", CLEANINGS)
def test_a_recording_of_nobody_says_so(name: str) -> None:
    empty = Sightings(np.zeros(7, np.int64), np.zeros(0, np.int64), np.zeros((0, 25, 3), "f4"))
    with pytest.raises(ClipError, match=r"^nobody is seen in any of its 7 frames$"):
        CLEANINGS[name].people(empty)


@pytest.mark.parametrize("name", CLEANINGS)
def test_one_body_is_never_doubted(name: str) -> None:
    """Short and lying, but alone: what was seen is all there is."""
    points = body(5, wide=5)
    people = CLEANINGS[name].people(seen(5, {A: (range(5), points)}))
    assert people.shape == (1, 5, 25, 3)
    assert people.dtype == np.float32
    if name in ("stgcn", "pyskl", "none"):
        assert np.array_equal(people[0], points)


def test_a_short_body_is_noise_from_eleven_frames_down() -> None:
    main = through(20, 1)
    for frames, people in ((11, 1), (12, 2)):
        sightings = seen(20, {A: main, B: through(frames, 2)})
        assert len(denoise(sightings)) == people
        assert len(clean_as_pyskl(sightings)) == people
    assert np.array_equal(denoise(seen(20, {A: main, B: through(11, 2)}))[0], main[1])


def test_frames_that_only_a_short_body_covered_are_dropped() -> None:
    main = through(14, 1, first=3)
    sightings = seen(17, {B: through(5, 2), A: main})
    assert np.array_equal(denoise(sightings), main[1][None])
    assert np.array_equal(clean_as_pyskl(sightings), main[1][None])


def test_recordings_of_noise_alone_say_so() -> None:
    short = seen(20, {A: through(11, 1), B: through(4, 2)})
    for way in (denoise, clean_as_pyskl):
        with pytest.raises(ClipError, match=r"none of its 2 bodies .* at most 11 frames.*none"):
            way(short)


@pytest.mark.parametrize(("wide", "people"), [(69, 2), (70, 1)])
def test_a_body_that_lies_in_most_frames_is_noise(wide: int, people: int) -> None:
    assert 0.69 < MOST_WIDE < 0.7
    sightings = seen(100, {A: through(100, 1), B: through(100, 2, wide=wide)})
    assert len(denoise(sightings)) == people
    assert len(clean_as_pyskl(sightings)) == people


def test_wide_is_more_than_four_fifths_of_the_height() -> None:
    points = np.zeros((2, 25, 3), dtype=np.float32)
    points[:, 0] = [[0.8, 1, 0], [0.81, 1, 0]]
    assert wide_frames(points).tolist() == [False, True]


def test_the_last_body_is_kept_however_it_lies() -> None:
    """The first two are dropped, and then nobody asks any more."""
    bodies = {A: through(20, 1, wide=20), B: through(20, 2, wide=20), C: through(20, 3, wide=20)}
    assert np.array_equal(denoise(seen(20, bodies)), bodies[C][1][None])
    with pytest.raises(ClipError, match="none of its 3 bodies"):  # PYSKL asks all of them
        clean_as_pyskl(seen(20, bodies))


def test_wide_frames_do_not_count_as_motion() -> None:
    """A body whose few wide frames spread far comes second, by what is left without them."""
    tall, lying = body(20, 1, size=1.2), body(20, 2, wide=8)
    lying[:8, :, 0] *= 4
    assert motion(lying) > motion(tall) > motion(lying[8:])
    for way in (denoise, clean_as_pyskl):
        people = way(seen(20, {B: (range(20), lying), A: (range(20), tall)}))
        assert np.array_equal(people[0], tall)
        assert np.array_equal(people[1], lying)  # its wide frames stay


def test_whoever_moves_most_comes_first() -> None:
    small, large = through(20, 1), through(20, 2, size=2.0)
    for way in (denoise, clean_as_pyskl):
        people = way(seen(20, {A: small, B: large}))
        assert np.array_equal(people, np.stack((large[1], small[1])))


def test_motion_is_the_spread_of_all_joints() -> None:
    points = body(30, 3)
    expected = points.astype(np.float64).reshape(-1, 3).var(axis=0).sum()
    assert motion(points) == pytest.approx(expected, rel=1e-5)
    assert isinstance(motion(points), np.float32)


def test_an_id_that_breaks_off_goes_on_in_the_same_place() -> None:
    first, second = through(15, 1, size=2.0), through(20, 2, first=15)
    for way in (denoise, clean_as_pyskl):
        people = way(seen(35, {A: first, B: second}))
        assert people.shape == (2, 35, 25, 3)  # two places, though the second one is empty
        assert np.array_equal(people[0], np.concatenate((first[1], second[1])))
        assert not people[1].any()


def test_a_place_stays_taken_from_its_first_track_to_its_last() -> None:
    first, second = through(15, 1, size=3.0), through(20, 2, first=15, size=2.0)
    third = through(12, 3, first=2)  # beside the first one, which broke off
    for way in (denoise, clean_as_pyskl):
        people = way(seen(35, {A: first, B: second, C: third}))
        assert np.array_equal(people[0], np.concatenate((first[1], second[1])))
        assert np.array_equal(people[1, 2:14], third[1])


def test_one_frame_in_common_is_no_overlap_but_for_pyskl() -> None:
    first, second = through(15, 1, size=2.0), through(20, 2, first=14)
    sightings = seen(34, {A: first, B: second})
    joined = denoise(sightings)
    assert not joined[1].any()
    assert np.array_equal(joined[0, 14:], second[1])  # the later one overwrites the frame
    apart = clean_as_pyskl(sightings)
    assert np.array_equal(apart[0, :15], first[1])
    assert np.array_equal(apart[1, 14:], second[1])


def test_a_third_body_takes_the_place_that_is_free_or_none() -> None:
    bodies = {
        A: through(40, 1, size=3.0),
        B: through(15, 2, size=2.0),
        C: through(16, 3, first=24, size=1.5),  # after the second: goes on there
        D: through(20, 4, first=10),  # overlaps all: dropped
    }
    for way in (denoise, clean_as_pyskl):
        people = way(seen(40, bodies))
        assert np.array_equal(people[0], bodies[A][1])
        assert np.array_equal(people[1, :15], bodies[B][1])
        assert not people[1, 15:24].any()
        assert np.array_equal(people[1, 24:], bodies[C][1])


def test_pyskl_puts_first_whoever_is_there_from_the_beginning() -> None:
    late, early = through(25, 1, first=5, size=2.0), through(30, 2)
    people = clean_as_pyskl(seen(30, {B: early, A: late}))
    assert np.array_equal(people[0], early[1])
    assert np.array_equal(people[1, 5:], late[1])
    assert np.array_equal(denoise(seen(30, {B: early, A: late}))[1], early[1])


def test_pyskl_cuts_empty_frames_off_the_ends_alone() -> None:
    points = body(20, 1)
    points[[0, 1, 9, 19]] = 0
    people = clean_as_pyskl(seen(20, {A: (range(20), points)}))
    assert np.array_equal(people, points[None, 2:19])


def test_the_middle_of_the_first_spine_becomes_the_origin() -> None:
    people = np.zeros((2, 4, 25, 3), dtype=np.float32)
    people[0, 1:] = body(3, 1)
    people[1, :3] = body(3, 2)
    moved = move_to_first_frame(people)
    assert np.array_equal(moved[0, 1, 1], np.zeros(3))
    assert not moved[0, 0].any()  # the main actor is not there yet
    assert not moved[1, 3].any()
    assert np.array_equal(moved[0, 1:], people[0, 1:] - people[0, 1, 1])
    assert np.array_equal(moved[1, :3], people[1, :3] - people[0, 1, 1])


def test_a_person_who_is_alone_is_moved_in_every_frame() -> None:
    """As published: an all-zero frame of a single body is taken for a pose at the sensor."""
    points = body(3, 1)
    points[1] = 0
    moved = clean(seen(3, {A: (range(3), points)}))
    assert np.array_equal(moved[0, 1], np.broadcast_to(-points[0, 1], (25, 3)))


def test_aligned_people_have_their_hips_and_spine_along_the_axes() -> None:
    people = clean(seen(20, {A: through(20, 1, size=2.0), B: through(20, 2)}))
    turned = align(people)
    for person in turned:
        spine, hips = person[0, 1] - person[0, 0], person[0, 12] - person[0, 16]
        assert np.allclose(spine[:2], 0, atol=1e-6)
        assert spine[2] > 0
        assert hips[0] > 0
        assert abs(hips[1]) < 1e-6
    lengths = np.linalg.norm(people[:, :, 5] - people[:, :, 4], axis=-1)
    assert np.allclose(np.linalg.norm(turned[:, :, 5] - turned[:, :, 4], axis=-1), lengths)


def test_aligned_people_are_mirror_images() -> None:
    people = clean(seen(20, {A: through(20, 1)}))
    before, after = (
        frames[0, 0, [4, 9, 18]] - frames[0, 0, 0] for frames in (people, align(people))
    )
    assert np.linalg.det(before) == pytest.approx(-np.linalg.det(after), rel=1e-4)


def test_whoever_is_not_there_in_the_first_frame_is_not_aligned() -> None:
    early, late = through(20, 1, size=2.0), through(15, 2, first=5)
    turned = clean_and_align(seen(20, {A: early, B: late}))
    assert turned[0].any()
    assert not turned[1].any()


def test_a_pose_on_one_line_cannot_be_aligned() -> None:
    points = np.zeros((1, 4, 25, 3), dtype=np.float32)
    points[..., 1] = np.arange(25)
    with pytest.raises(ClipError, match="hips and spine of a person lie on one line"):
        align(points)


def test_nobody_in_the_first_frame_is_an_error() -> None:
    """Frame 0 of a body that is all zero gives no axes."""
    points = body(20, 1)
    points[0] = 0
    with pytest.raises(ClipError, match=r"nobody is seen in its first frame.*denoised"):
        clean_and_align(seen(20, {A: (range(20), points)}))


def test_the_first_two_bodies_of_a_frame_are_taken_as_they_stand() -> None:
    ids = np.array([A, B, C, B, A])
    points = body(5, 1)
    people = first_two(Sightings(np.array([3, 0, 2, 0]), ids, points))
    assert people.shape == (2, 4, 25, 3)
    assert np.array_equal(people[:, 0], points[:2])
    assert np.array_equal(people[:, 2], points[3:])  # now B stands first
    assert not people[:, [1, 3]].any()


def test_without_cleaning_every_body_is_where_it_was_seen() -> None:
    first, second = body(3, 1), body(2, 2)
    people = every_body(seen(6, {A: (range(0, 6, 2), first), B: (range(2, 4), second)}))
    assert people.shape == (2, 6, 25, 3)
    assert np.array_equal(people[0, ::2], first)
    assert np.array_equal(people[1, 2:4], second)
    assert np.count_nonzero(people.any(axis=(2, 3))) == 5
    many = Sightings(np.array([33]), np.arange(33), body(33, 1))
    with pytest.raises(ClipError, match=r"33 bodies, a clip at most 32 people.*denoised"):
        every_body(many)


def test_a_frame_that_sums_to_next_to_nothing_is_no_end_of_a_clip_of_pyskl() -> None:
    points = body(6)
    points[[0, -1]] = 0
    points[0, 0, 0], points[-1, 0, 0] = 9e-4, -2e-3  # a thousandth is the limit, of either sign
    (person,) = clean_as_pyskl(seen(6, {A: (range(6), points)}))
    assert np.array_equal(person, points[1:])
