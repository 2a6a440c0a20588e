"""Class names by their published order, written down a second time: a label is a position."""

from __future__ import annotations

import pytest

from kinegraph.data.formats.nw_ucla import CLASSES as UCLA
from kinegraph.data.formats.pku_mmd import CLASSES as PKU
from kinegraph.data.formats.sbu import CLASSES as SBU
from kinegraph.data.formats.utd_mhad import CLASSES as UTD

PUBLISHED = {
    "sbu": (
        SBU,
        "approaching; departing; kicking; pushing; shaking hands; hugging; exchanging object;"
        " punching",
    ),
    "utd-mhad": (
        UTD,
        "swipe left; swipe right; wave; clap; throw; cross arms; basketball shoot; draw x;"
        " draw circle clockwise; draw circle counter-clockwise; draw triangle; bowling; boxing;"
        " baseball swing; tennis swing; arm curl; tennis serve; push; knock; catch;"
        " pick up and throw; jog; walk; sit to stand; stand to sit; lunge; squat",
    ),
    "pku-mmd": (
        PKU,
        "bow; brush hair; brush teeth; check time; cheer up; clap; cross hands in front;"
        " drink water; drop; eat meal; fall; give something to other person; wave hand;"
        " shake hands; hop; hug other person; jump up; kick other person; kick something;"
        " make a phone call; pat on back of other person; pick up; play with phone;"
        " point finger at other person; point to something; punch other person;"
        " push other person; put on a hat; put something inside pocket; read;"
        " rub two hands together; salute; sit down; stand up; take off a hat; take off glasses;"
        " take off jacket; take something out of pocket; take a selfie; tear up paper; throw;"
        " touch back; touch chest; touch head; touch neck; type on a keyboard; use a fan;"
        " wear jacket; wear glasses; wipe face; write",
    ),
    "nw-ucla": (
        tuple(UCLA.values()),
        "pick up with one hand; pick up with two hands; drop trash; walk around; sit down;"
        " stand up; donning; doffing; throw; carry",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_classes_stand_in_the_published_order(name: str) -> None:
    classes, published = PUBLISHED[name]
    assert "; ".join(classes) == published
