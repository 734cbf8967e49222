import os
import signal
import threading

import pytest

from dlerse_jax.runtime.signals import stop_requested


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_for_the_end_and_the_old_handler_returns(number):
    former = signal.getsignal(number)
    with stop_requested() as request:
        assert not request.flag
        os.kill(os.getpid(), number)
        assert request.flag
    assert signal.getsignal(number) is former


def test_a_second_ctrl_c_ends_at_once():
    former = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop_requested():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is former


def test_a_second_sigterm_still_waits_for_the_save():
    with stop_requested() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.flag


def test_outside_the_main_thread_nothing_is_touched():
    former = signal.getsignal(signal.SIGINT)
    seen = []

    def run():
        with stop_requested() as request:
            seen.append((request.flag, signal.getsignal(signal.SIGINT) is former))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
