"""A taken port is named, with its setting and its holder."""

import os
import socket

import pytest

from deploy.errors import StackError
from deploy.stack.ports import Port, check_free, free_ports


def test_a_taken_port_is_named_with_its_holder() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        number = holder.getsockname()[1]
        with pytest.raises(StackError) as caught:
            check_free([Port(number, "HOLDFAST_API_PORT")])
    assert f"port {number} (HOLDFAST_API_PORT) is taken by" in str(caught.value)
    assert f"(pid {os.getpid()})" in str(caught.value)
    assert "set HOLDFAST_API_PORT to a free port" in str(caught.value)


def test_two_settings_with_one_port_are_named() -> None:
    (number,) = free_ports(1)
    with pytest.raises(StackError, match="HOLDFAST_A and HOLDFAST_B are both"):
        check_free([Port(number, "HOLDFAST_A"), Port(number, "HOLDFAST_B")])


def test_free_ports_are_free_and_different() -> None:
    numbers = free_ports(5)
    assert len(set(numbers)) == 5
    check_free([Port(number, str(number)) for number in numbers])


def test_none_is_given_twice_although_nobody_listens_yet() -> None:
    numbers = [number for _ in range(40) for number in free_ports(11)]
    assert len(set(numbers)) == len(numbers)
