"""Settings for every test: CPU, strict rank promotion, W&B offline and out of sight.

A run fails where a process of it has held more memory than `memory.LIMIT`.
"""

import gc
import os
from pathlib import Path

import kept_context
import memory
import pytest
from hypothesis import settings
from memory import ROOT, TOO_LARGE

PEAKS = pytest.StashKey[dict[str, tuple[int, str]]]()  # process -> bytes, file

# Before JAX is imported, and inherited by the commands that tests start.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# Tests compile for seconds and run for milliseconds.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# The first takes 40% off the compiler's time, the second a third off that of a program
# of few operations. An XLA that does not know a flag refuses to start.
CHEAPER = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
if kept_context.KNOWN_JAX:
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {CHEAPER}"
# What one worker, process or test has compiled no other compiles again.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "compiled")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# `make fuzz` tries thousands of inputs where `make test` tries a hundred.
settings.register_profile("fuzz", max_examples=3000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_finish() -> None:
    """Modules stay: tracing makes so many objects that looking for dead ones costs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


@pytest.fixture(scope="session", autouse=True)
def _wandb_offline(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR"):
            patch.setenv(f"WANDB_{name}", str(folder))
        yield


@pytest.fixture(scope="session", autouse=True)
def _contexts_kept():
    """By the name that this JAX has for what makes them."""
    with pytest.MonkeyPatch.context() as patch:
        if kept_context.KNOWN_JAX:
            from jax._src.interpreters import mlir

            kept = kept_context.keep_contexts(mlir.make_ir_context)
            patch.setattr(mlir, "make_ir_context", kept)
        yield


@pytest.fixture(autouse=True)
def _settings_kept():
    from kept_settings import settings_kept

    with settings_kept():
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout; it may not be copied into the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data sets are not at {folder}")
    return folder


@pytest.fixture
def blank_figures(monkeypatch):
    """Pages whose figures hold nothing: what is drawn is looked at in `reporting/`."""
    from dlerse_jax.reporting import style

    monkeypatch.setattr(style.PanelFigure, "draw_without_rendering", lambda _: None)
    monkeypatch.setattr(style, "_text_box", lambda _: None)
    monkeypatch.setattr(style, "_rendered", lambda *_: b"<svg/>")


@pytest.fixture(scope="module")
def one_program():
    """For tests that start runs of one config again and again."""
    from one_program import share_programs  # and JAX, which reads what is set above

    with pytest.MonkeyPatch.context() as patch:
        share_programs(patch)
        yield


@pytest.fixture(scope="module", autouse=True)
def _memory(request: pytest.FixtureRequest):
    """Makes room for the file, and notes its name where it holds most so far."""
    memory.make_room()
    yield
    peaks = request.config.stash.setdefault(PEAKS, {})
    if memory.peak() > peaks.get("this", (0, ""))[0]:
        peaks["this"] = memory.peak(), request.path.relative_to(ROOT).as_posix()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells its peak; who reports fails the run for one that is too large."""
    peaks = session.config.stash.setdefault(PEAKS, {})
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak"] = list(peaks.get("this", (0, "")))
    elif memory.too_large(peaks):
        session.exitstatus = TOO_LARGE


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """A worker of pytest-xdist has ended; one that crashed has told nothing."""
    peaks = node.config.stash.setdefault(PEAKS, {})
    if hasattr(node, "workeroutput"):
        peaks[node.gateway.id] = tuple(node.workeroutput["peak"])


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    peaks = config.stash.get(PEAKS, {})
    for name, (held, file) in sorted(peaks.items()):
        terminalreporter.write_line(f"{name}: {held / memory.GIB:.2f} GiB in {file}")
    for complaint in memory.too_large(peaks):
        terminalreporter.write_line(complaint, red=True)
