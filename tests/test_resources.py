"""Where an experiment runs: what cannot be is refused, with what can."""

import pytest

from raydg.resources import Resources


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scorers is 4: .* None where workers is 0, .*workers to 1 or more"):
        Resources(workers=0, scorers=4)
    with pytest.raises(ValueError, match=r"max_failures is -2: it must be -1 \(no limit\) or more"):
        Resources(max_failures=-2)
    assert Resources(workers=0, scorers=None).scorers is None and Resources(workers=1, scorers=4).scorers == 4
