# SPDX-License-Identifier: Apache-2.0
"""What `caption`, `crop` and `use` share: they change pictures in one step, and say so."""

from collections.abc import Sequence

from fluxgym.protocol.dataset_messages import PictureChange
from fluxgym.protocol.dataset_methods import CHANGE_PICTURES, ChangeParameters, ChangeReply
from fluxgymctl.output import note, write_json
from fluxgymctl.session import Session


def change(session: Session, name: str, changes: Sequence[PictureChange], *, done: str) -> ChangeReply:
    """Makes the changes. `done`: the sentence for people."""
    reply = session.call(CHANGE_PICTURES, ChangeParameters(name=name, changes=list(changes)))
    if session.json:
        for picture in reply.pictures:
            write_json(picture)
    else:
        note(done)
    return reply
