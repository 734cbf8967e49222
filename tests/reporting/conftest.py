"""Reports made faster: most tests look at pages, not at bounds or pixels."""

import functools

import pytest


@pytest.fixture(scope="module")
def quick_reports():
    """A tenth of the resamples, and no pixels: pages show what is drawn as SVG."""
    from dlerse_jax.evaluation import bootstrap
    from dlerse_jax.reporting import style

    @functools.wraps(style._rendered)
    def rendered(figure, file_format, *rest):
        if file_format == "png":
            return b""
        return rendered.__wrapped__(figure, file_format, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "NUM_RESAMPLES", 1_000)
        patch.setattr(style, "_rendered", rendered)
        yield
