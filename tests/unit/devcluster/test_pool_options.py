from __future__ import annotations

import pytest

from devcluster.pool.options import Options, parse


@pytest.mark.parametrize(
    ("data", "options"),
    [
        pytest.param({}, Options(), id="nothing"),
        pytest.param({"bootDelaySeconds": "20"}, Options(boot_delay=20), id="slow boot"),
        pytest.param({"boot": "fail"}, Options(boot_fails=True), id="failing boot"),
        pytest.param({"boot": "slow"}, Options(), id="a boot that is not known"),
        pytest.param({"stockout": "true"}, Options(stockout=True), id="stockout"),
        pytest.param({"stockout": "perhaps"}, Options(), id="a flag that is none"),
        pytest.param({"restartKubelet": "False"}, Options(restarts_kubelet=False), id="no restart"),
        pytest.param(
            {"reclaimNoticeSeconds": "1", "reclaimGraceSeconds": "2", "removalSeconds": "0"},
            Options(reclaim_notice=1, reclaim_grace=2, removal=0),
            id="times",
        ),
        *(
            pytest.param({"bootDelaySeconds": text}, Options(), id=f"no time: {text or 'empty'}")
            for text in ("", "soon", "-1", "inf", "nan")
        ),
    ],
)
def test_options_are_read_and_nonsense_is_as_if_absent(data: dict[str, str], options: Options):
    assert parse(data) == options
