"""A SuperLink that the tests of the daemon share: it is real, and starts once. Hospitals come and go."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import pytest

from fl_liver.study import Study
from tests.hospital import Hospital, make_hospital
from tests.superlink import SuperLink


@pytest.fixture(scope="session")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLink]:
    link = SuperLink(tmp_path_factory.mktemp("superlink"))
    try:
        link.start()
        yield link
    finally:
        link.stop()


@pytest.fixture
def hospital(
    superlink: SuperLink, plain_study: Study, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Hospital]]:
    """hospital("H01", study=…, **site.toml keys): see `make_hospital`; its daemon is gone when the test ends."""
    made: list[Hospital] = []

    def make(name: str = "H01", study: Study = plain_study, **keys: object) -> Hospital:
        test = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]
        made.append(make_hospital(superlink, f"{name}-{test}-{len(made)}", name, study, **keys))
        return made[-1]

    yield make
    for one in made:
        one.kill()
