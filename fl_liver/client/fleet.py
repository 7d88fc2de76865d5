"""Flower's private Fleet API, in this file only: let in, take messages, give answers, say goodbye.

Messages travel as `Parcel`s: the daemon carries them unread; `unpacked` and `packed` are for the process that answers.
Flower's own client ends the process when it is refused (`flwr_exit`, SIGINT on 401) and takes no client certificate;
here every failure is an error of `errors.py`.

Tested with flwr 1.41 and 1.42 (`tests/client/test_fleet.py` runs a real SuperLink); 1.43 changes it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

# Before flwr is imported: nothing calls home from a hospital.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

import httpx
from flwr.app import Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ObjectTree,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
)
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectUnavailableError,
    inflate_object_from_contents,
    pull_objects,
    push_object_contents_from_iterable,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fl_liver.client.connection import Connection
from fl_liver.errors import FleetError, NodeRefusedError, ProtocolError, RunOverError, UnreachableError
from fl_liver.messages import SiteFailure

HEARTBEAT_S = 20.0
"""Told to the server, which calls a hospital offline after twice that: a cut of 20 s is survived, and a daemon that was
killed is let in again within 40 s (Flower's 30 s would make it a minute)."""
_BEAT_EVERY_S = 7.0
_TIMEOUT_S = 30.0
_FETCHED_S = 3.0
"""From an answer to a goodbye. The SuperLink looks whether a hospital is registered before it looks for its answer:
what the server app, which looks every 0.2 s and fetches others' answers as well, has not fetched by then is lost."""
_PART_AGAIN_S, _PART_LATEST_S = 0.1, 1.0
_LATER = frozenset({429, 502, 503, 504})
_PRECONDITION = 412
_TWICE = (
    "; the server still counts this hospital as connected (40 s after a daemon was killed; longer: a second daemon with"
    " the same key), or does not know its node key"
)
_NO_PART = "0" * 64
_OF_A_RUN = frozenset({"pull-object", "push-object", "push-messages", "confirm-message-received"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message unread: its head, the tree of its objects, and the objects by SHA-256. Bytes as Flower has them."""

    head: bytes
    tree: bytes
    objects: dict[str, bytes]

    @property
    def bytes(self) -> int:
        return sum(map(len, self.objects.values()))


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that the server handed out and will not hand out again; its content is still to be fetched."""

    head: bytes
    tree: bytes
    message_id: str
    run_id: int
    kind: str
    """ "train" or "query"."""
    expires: float
    """Seconds since 1970 after which nobody waits for the answer."""


class _Headers:
    """Flower's version headers on the way out; the server's clock from the way back."""

    def __init__(self) -> None:
        self._version = dict(RuntimeVersionMetadata.from_local_component("SuperNode").as_metadata())
        self.clock_skew_s: float | None = None

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers.update(self._version)
        response = call_next(context)
        date = response.headers.get("date")
        if date:
            # The header has whole seconds: the middle of that second is the best guess.
            self.clock_skew_s = time.time() - parsedate_to_datetime(date).timestamp() - 0.5
        return response


class Fleet:
    """One hospital at one server. A context manager: inside, the hospital is registered and its heart beats."""

    def __init__(self, connection: Connection, beat_every_s: float = _BEAT_EVERY_S) -> None:
        self._headers = _Headers()
        key = connection.node_key
        self._public = public_key_to_bytes(key.public_key())
        self._client = FleetHttpClient(
            f"https://{connection.address}",
            interceptors=[self._headers, NodeAuthHttpInterceptor(key, key.public_key())],
            verify=connection.tls(),
            timeout=_TIMEOUT_S,
        )
        self._address, self._beat_every_s = connection.address, beat_every_s
        self._node: Node | None = None
        self._given = -_FETCHED_S
        self._leave = threading.Event()
        self._heart: threading.Thread | None = None
        self.last_heard = 0.0
        """Seconds since 1970 of the server's last good answer."""
        self.lost: FleetError | None = None
        """Why the heart stopped: the server does not know this hospital any more."""

    @property
    def clock_skew_s(self) -> float | None:
        """How far this machine's clock is ahead of the server's; the server refuses more than 5 s."""
        return self._headers.clock_skew_s

    def __enter__(self) -> Fleet:
        request = ActivateNodeRequest(public_key=self._public, heartbeat_interval=HEARTBEAT_S)
        try:
            self._node = Node(node_id=self._call(self._client.ActivateNode, request).node_id)
        except BaseException:
            self._client.close()
            raise
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(max(0.0, self._given + _FETCHED_S - time.monotonic()))
        self._leave.set()
        if self._heart is not None:
            self._heart.join(timeout=6)
        with contextlib.suppress(FleetError):  # the server notices by itself within two heartbeats
            self._call(self._client.DeactivateNode, DeactivateNodeRequest(node_id=self.node_id))
        self._client.close()

    @property
    def node_id(self) -> int:
        return self._registered().node_id

    def take(self) -> Taken | None:
        """The next message, None where there is none. The server forgets it: write its head down before all else."""
        if self.lost is not None:
            raise self.lost
        response = self._call(self._client.PullMessages, PullMessagesRequest(node=self._registered()))
        if not response.messages_list:
            return None
        return _taken(
            response.messages_list[0].SerializeToString(), response.message_object_trees[0].SerializeToString()
        )

    def fetch(self, taken: Taken) -> Parcel:
        """The message's content."""
        tree, node = ObjectTree.FromString(taken.tree), self._registered()

        def one(object_id: str) -> bytes:
            request = PullObjectRequest(node=node, run_id=taken.run_id, object_id=object_id)
            response: PullObjectResponse = self._call(self._client.PullObject, request)
            if not response.object_found:
                raise RunOverError(f"message {taken.message_id[:12]}: its content is no longer on the server")
            if not response.object_available:
                raise ObjectUnavailableError(object_id)
            return response.object_content

        try:
            names = [part.object_id for part in iterate_object_tree(tree)]
            # A message is announced before its parts are there: Flower would wait for 1 s, then 2 s, …, for each.
            objects = pull_objects(names, one, initial_backoff=_PART_AGAIN_S, backoff_cap=_PART_LATEST_S)
        except ObjectPullError as error:
            raise UnreachableError(f"message {taken.message_id[:12]}: its content did not come ({error})") from error
        self._call(
            self._client.ConfirmMessageReceived,
            ConfirmMessageReceivedRequest(node=node, run_id=taken.run_id, message_object_id=tree.object_id),
        )
        return Parcel(taken.head, taken.tree, objects)

    def require_wanted(self, taken: Taken) -> None:
        """Whether the run of a message that is being answered still goes on.

        Raises:
            RunOverError: it was stopped; nobody waits for the answer. FleetError: the server could not be asked.
        """
        about = PullObjectRequest(node=self._registered(), run_id=taken.run_id, object_id=_NO_PART)
        self._call(self._client.PullObject, about)  # that there is no such part is no news; 403 is

    def give(self, parcel: Parcel, run_id: int, seconds: float) -> None:
        """Send an answer. The server says which of its objects it lacks."""
        node = self._registered()
        request = PushMessagesRequest(
            node=node,
            messages_list=[ProtoMessage.FromString(parcel.head)],
            message_object_trees=[ObjectTree.FromString(parcel.tree)],
            clientapp_runtime_list=[seconds],
        )
        response = self._call(self._client.PushMessages, request)
        wanted, session = set(response.objects_to_push), response.session_id

        def one(object_id: str, content: bytes) -> None:
            sent = PushObjectRequest(
                node=node, run_id=run_id, object_id=object_id, object_content=content, session_id=session
            )
            if not self._call(self._client.PushObject, sent).stored:
                raise UnreachableError("an answer's part was not stored; the answer is sent again")

        push_object_contents_from_iterable(
            ((name, content) for name, content in parcel.objects.items() if name in wanted), one
        )
        self._given = time.monotonic()

    def _registered(self) -> Node:
        if self._node is None:
            raise ProtocolError("the connection was used before it was opened")
        return self._node

    def beat(self) -> bool:
        """Tell the server itself that this hospital is there; False: it knows nothing of it. A gateway that answers
        `take` alone while the server is away does not answer this.

        Raises:
            FleetError: no answer.
        """
        request = SendNodeHeartbeatRequest(node=self._registered(), heartbeat_interval=HEARTBEAT_S)
        return bool(self._call(self._client.SendNodeHeartbeat, request).success)

    def _beat(self) -> None:
        wait = self._beat_every_s
        while not self._leave.wait(wait):
            wait = self._beat_every_s
            try:
                if not self.beat():
                    self.lost = NodeRefusedError(f"{self._address}: the server does not know this hospital any more")
                    return
            except NodeRefusedError as error:
                self.lost = error
                return
            except FleetError:
                wait = 3.0

    def _call(self, method: Callable[..., T], request: object) -> T:
        """One request; what went wrong as an error of ours."""
        try:
            answer = method(request)
        except httpx.TransportError as error:
            raise UnreachableError(f"{self._address}: no answer ({type(error).__name__}: {error})") from error
        except httpx.HTTPStatusError as error:
            raise self._refused(error.response) from error
        except ValueError as error:
            raise UnreachableError(f"{self._address}: the answer is not Flower's ({error}); is it one?") from error
        self.last_heard = time.time()
        return answer

    def _refused(self, response: httpx.Response) -> FleetError:
        status, path = response.status_code, response.request.url.path.rpartition("/")[2]
        if status in _LATER:
            return UnreachableError(f"{self._address}: {path} answered {status}; the server behind it is away or busy")
        detail = " ".join(response.text[:200].split())
        # A gateway's own 403 (revoked, not approved) is plain text; the SuperLink's about a run has a code.
        if status == httpx.codes.FORBIDDEN and path in _OF_A_RUN and '"code"' in response.text:
            return RunOverError(f"{self._address}: the run has ended ({detail})")
        skew = self.clock_skew_s
        clock = f"; this clock is {skew:+.0f} s against the server's, at most 5 s ahead is let in" if skew else ""
        hint = clock if skew is not None and abs(skew) > 3 else _TWICE if status == _PRECONDITION else ""
        return NodeRefusedError(f"{self._address}: {path} was refused with {status} ({detail}){hint}")


def unpacked(parcel: Parcel) -> Message:
    """The message in a parcel, for the process that answers it.

    Raises:
        ProtocolError: it cannot be read.
    """
    head = ProtoMessage.FromString(parcel.head)
    root = ObjectTree.FromString(parcel.tree).object_id
    try:
        message = inflate_object_from_contents(root, dict(parcel.objects))
    except (KeyError, ValueError, RecursionError) as error:
        raise ProtocolError(f"message {root[:12]} cannot be read ({type(error).__name__})") from error
    if not isinstance(message, Message):
        raise ProtocolError(f"message {root[:12]} is a {type(message).__name__}, wanted a Message")
    _at_home(head)
    message.metadata.__dict__["_message_id"] = root
    return message


def packed(reply: Message) -> Parcel:
    """An answer, ready to be sent."""
    reply.metadata.__dict__["_message_id"] = reply.object_id
    with no_object_id_recompute():
        tree = get_object_tree(reply)
        objects = {name: one.deflate() for name, one in get_all_nested_objects(reply).items()}
    head = message_to_proto(remove_content_from_message(reply))
    return Parcel(head.SerializeToString(), tree.SerializeToString(), objects)


def failure(head: bytes, code: SiteFailure) -> Parcel:
    """The answer to a message that was taken and got none: a code, no content."""
    proto = ProtoMessage.FromString(head)
    _at_home(proto)
    message = message_from_proto(proto)
    if not message.has_content():
        proto.content.SetInParent()
        message = message_from_proto(proto)
    return packed(Message(Error(code=int(code), reason=code.name), reply_to=message))


def answer(question: Message, content: RecordDict) -> Parcel:
    """The reply to a message with this content."""
    return packed(Message(content, reply_to=question))


def read_head(head: bytes) -> Taken:
    """What stands in a head that was written down; its content is gone."""
    return _taken(head, b"")


def _taken(head: bytes, tree: bytes) -> Taken:
    about = ProtoMessage.FromString(head).metadata
    return Taken(head, tree, about.message_id, about.run_id, about.message_type, about.created_at + about.ttl)


def _at_home(head: ProtoMessage) -> None:
    """Flower makes a Message only where it knows whose."""
    TaskIdentity.run_id, TaskIdentity.node_id = head.metadata.run_id, head.metadata.dst_node_id
    TaskIdentity.task_id = 0
