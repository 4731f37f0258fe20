"""Checks on a client what the server says, by the forms that the method declares of replies."""

from collections.abc import Mapping, Sequence

from ifl.comm.message import Message
from ifl.comm.schema import Expected, Form, check_names, listed, most_bytes
from ifl.comm.wire import HEADER_LIMIT
from ifl.errors import MessageError, NotFiniteError

UNPACKED_LIMIT = 2**30  # bytes of a message down that no form is declared of

Forms = Sequence[Form] | None  # a reply has to fit one of them; None: the method declares none


def most_of(forms: Forms, agreed: Mapping[str, int]) -> int:
    """Return the bytes that a reply may have, packed or not."""
    if forms is None:
        return UNPACKED_LIMIT
    return HEADER_LIMIT + max((most_bytes(form, agreed) for form in forms), default=0)


def check_reply(message: Message, forms: Forms, agreed: Mapping[str, int]) -> None:
    """Refuse a reply that fits no form; of a method that declares none, one that is not finite.

    Raises:
        NotFiniteError: a value is infinite or not a number.
        MessageError: another name, shape, type or range than is declared.
    """
    if forms is None:
        for name, tensor in message.tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise NotFiniteError(f"{name} is not finite")
        return
    names = message.tensors.keys()
    alike = [form for form in forms if form.keys() == names]
    if not alike:
        if len(forms) == 1:
            check_names(forms[0], names)
        expected = " or ".join(map(listed, forms)) or "nothing"
        raise MessageError(f"it holds {listed(names) or 'nothing'}, expected is {expected}")
    for n, form in enumerate(alike):
        try:
            _check(message, form, agreed)
            return
        except MessageError:
            if n == len(alike) - 1:
                raise


def _check(message: Message, form: Form, agreed: Mapping[str, int]) -> None:
    flexible: dict[str, int] = {}
    for name, tensor in message.tensors.items():
        expected: Expected = form[name]
        expected.check_shape(name, tensor.shape, agreed)
        expected.check_values(name, tensor, agreed)
        if expected.fewest is not None:
            flexible[name] = len(tensor)
    if len({*flexible.values()}) > 1:
        rows = ", ".join(f"{name} has {count}" for name, count in flexible.items())
        raise MessageError(f"its tensors differ in rows: {rows}")
