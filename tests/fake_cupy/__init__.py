"""A stand-in for CuPy on machines without a GPU, for tests.

    from tests.fake_cupy import counters, fake_gpu

    def test_a_step_copies_nothing(fake_gpu):        # fake_gpu is the module `cupy`
        x = mr.tensor(images).to("cuda")
        counters.reset()
        step(x)
        assert counters.to_host == 0, counters       # names the lines that copied

It takes CuPy's names and arguments and no others (names.json), refuses every mix with NumPy's
arrays, keeps two devices apart, and counts copies, launches and synchronizations.  It is
stricter than CuPy where CuPy would copy in silence: an index or a value of the host.
"""

from tests.fake_cupy.counters import counters
from tests.fake_cupy.modules import fake_gpu, installed

__all__ = ["counters", "fake_gpu", "installed"]
