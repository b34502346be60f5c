"""Our bytes are those of the reference encoder."""

import math
import struct
from typing import Any

import cramjam
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from aiops.kit.retry import Permanent
from aiops.notify import write_request as module
from aiops.notify.write_request import STALE, number, packed, series_head, write_request


def _messages() -> Any:
    """The messages of prometheus/prompb, as far as a write of samples needs them."""
    file = descriptor_pb2.FileDescriptorProto(name="prw.proto", package="prometheus", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    fields: dict[str, list[tuple[str, int, int, str]]] = {
        "Label": [("name", 1, kinds.TYPE_STRING, ""), ("value", 2, kinds.TYPE_STRING, "")],
        "Sample": [("value", 1, kinds.TYPE_DOUBLE, ""), ("timestamp", 2, kinds.TYPE_INT64, "")],
        "TimeSeries": [("labels", 1, kinds.TYPE_MESSAGE, "Label"), ("samples", 2, kinds.TYPE_MESSAGE, "Sample")],
        "WriteRequest": [("timeseries", 1, kinds.TYPE_MESSAGE, "TimeSeries")],
    }
    for name, parts in fields.items():
        message = file.message_type.add(name=name)
        for field, place, kind, of in parts:
            label = kinds.LABEL_REPEATED if of else kinds.LABEL_OPTIONAL
            message.field.add(name=field, number=place, type=kind, label=label,
                              type_name=f".prometheus.{of}" if of else None)  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))


WriteRequest = _messages()
TEXT = st.text(max_size=300)
SERIES = st.lists(
    st.tuples(st.dictionaries(st.from_regex("[a-z]{1,9}", fullmatch=True), TEXT, max_size=4), st.floats()), max_size=5
)


@given(SERIES, st.integers(0, 2**62))
def test_a_request_is_what_the_reference_encoder_writes(
    series: list[tuple[dict[str, str], float]], milliseconds: int
) -> None:
    reference = WriteRequest()
    for labels, value in series:
        one = reference.timeseries.add()
        for name, text in sorted({**labels, "__name__": "m"}.items()):
            if text:
                one.labels.add(name=name, value=text)
        one.samples.add(value=value, timestamp=milliseconds)
    ours = write_request([(series_head("m", labels), number(value)) for labels, value in series], milliseconds)
    assert ours == reference.SerializeToString(deterministic=True)


def test_a_series_that_ended_says_so_with_the_agreed_nan() -> None:
    found = WriteRequest.FromString(write_request([(series_head("m", {}), STALE)], 1))
    value = found.timeseries[0].samples[0].value
    assert math.isnan(value)
    assert struct.unpack("<Q", STALE) == (0x7FF0000000000002,)


def test_a_body_is_one_snappy_block(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"abc" * 1000
    assert bytes(cramjam.snappy.decompress_raw(packed(body))) == body
    assert len(packed(body)) < 300
    monkeypatch.setitem(__import__("sys").modules, "cramjam", None)
    with pytest.raises(Permanent, match=r"aiops\[write\]"):
        module.packed(body)
