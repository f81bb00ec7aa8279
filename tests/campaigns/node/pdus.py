"""PDUs of a well-behaved scanner, encoded once."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final

from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import build_context
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["ABORT", "ACCEPT", "RELEASE", "association_request", "data_pdus", "store_request"]

ACCEPT: Final = 0x02
"""Type of an A-ASSOCIATE-AC."""

RELEASE: Final = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
ABORT: Final = b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"

_LONGEST: Final = 131072


def association_request() -> bytes:
    """Return an A-ASSOCIATE-RQ for MR images, from SCANNER to SCANSIDE."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = "SCANNER", "SCANSIDE"
    length = MaximumLengthNotification()
    length.maximum_length_received = 16384
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.826.0.1.3680043.10.1"
    request.user_information = [length, implementation]
    context = build_context(MRImageStorage, [ExplicitVRLittleEndian])
    context.context_id = 1
    request.presentation_context_definition_list = [context]
    association = A_ASSOCIATE_RQ()
    association.from_primitive(request)
    return association.encode()


def store_request(dataset: Dataset) -> bytes:
    """Return the PDUs of a C-STORE request, one behind the other."""
    content = encode(dataset, is_implicit_vr=False, is_little_endian=True)
    assert content is not None
    return b"".join(
        data_pdus(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), content, _LONGEST)
    )


def data_pdus(sop_class: str, sop_instance: str, content: bytes, longest: int) -> list[bytes]:
    """Return the P-DATA-TF PDUs of a C-STORE request with an encoded data set."""
    store = C_STORE()
    store.MessageID, store.Priority = 1, 2
    store.AffectedSOPClassUID, store.AffectedSOPInstanceUID = sop_class, sop_instance
    store.DataSet = BytesIO(content)
    message = C_STORE_RQ()
    message.primitive_to_message(store)
    data = []
    for primitive in message.encode_msg(1, longest):
        pdu = P_DATA_TF()
        pdu.from_primitive(primitive)
        data.append(pdu.encode())
    return data
