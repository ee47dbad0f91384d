"""Amounts: Kubernetes quantities and the vector that requests, usage and quotas share.

The syntax is that of apimachinery's `resource.Quantity`
(https://pkg.go.dev/k8s.io/apimachinery/pkg/api/resource#Quantity), without a sign. The maintained Python parser,
`kubernetes.utils.quantity.parse_quantity`, is not called here: importing it loads the whole Kubernetes client (about
half a second and a dependency that one machine does not need), it rounds to 28 digits, and it accepts `NaN`, `-5Gi`,
`1_000`, full-width digits and `1K`. The guard that it needs is the grammar itself; what is left after the guard is
`decimal.Decimal`, which reads the number, and a table of suffixes. The tests hold both parsers to the same values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow

from aihub.errors import QuantityError

__all__ = [
    "CPU",
    "MEMORY",
    "SERVERS",
    "STORAGE",
    "Resources",
    "format_amount",
    "format_quantity",
    "is_accelerator",
    "parse_quantity",
    "sort_keys",
]

CPU, MEMORY, SERVERS, STORAGE = "cpu", "memory", "servers", "storage"
_ORDER = {SERVERS: 0, CPU: 1, MEMORY: 2, STORAGE: 4}


def is_accelerator(key: str) -> bool:
    """Whether `key` names an extended resource (`nvidia.com/gpu`): those have a domain."""
    return "/" in key


def sort_keys(keys: Iterable[str]) -> list[str]:
    """Keys in the order in which rules test and pages show them: servers, cpu, memory, accelerators, storage."""
    return sorted(keys, key=lambda key: (_ORDER.get(key, 3), key))


_MAX_LENGTH = 40
_MAX_EXPONENT = 30
# Room for every digit of what `parse_quantity` accepts, summed up as often as there are servers: nothing is rounded.
_EXACT = Context(prec=200, traps=[InvalidOperation, DivisionByZero, Overflow])

_QUANTITY = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]+))?"
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SCALES = {
    **{suffix: Decimal(1).scaleb(power) for suffix, power in _DECIMAL.items()},
    **{f"{letter}i": Decimal(1024**power) for power, letter in enumerate("KMGTPE", start=1)},
}


def parse_quantity(text: str) -> Decimal:
    """The amount that a Kubernetes quantity stands for, exactly: "500m" is 0.5, "2Gi" is 2147483648.

    Stricter than Kubernetes where that keeps mistakes out: no sign, at most 40 characters, exponents from -30 to 30.
    Raises QuantityError for everything else, also for a `text` that is not a str.
    """
    if not isinstance(text, str):
        raise QuantityError(text, "is not text")
    if len(text) > _MAX_LENGTH:
        raise QuantityError(text, f"is longer than {_MAX_LENGTH} characters")
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise QuantityError(text, _syntax_problem(text))
    number, suffix, exponent = Decimal(match["number"]), match["suffix"], int(match["exponent"] or 0)
    if abs(exponent) > _MAX_EXPONENT:
        raise QuantityError(text, f"has an exponent outside -{_MAX_EXPONENT} to {_MAX_EXPONENT}")
    return _EXACT.multiply(number, _SCALES[suffix]) if suffix else _EXACT.scaleb(number, Decimal(exponent))


def _syntax_problem(text: str) -> str:
    if not text:
        return "is empty"
    if text[0] in "+-":
        return "has a sign: an amount is written without one"
    return 'is not a quantity: write a number and a unit like "500m", "1.5", "2Gi" or "1e3"'


_UNITS = (
    *((f"{letter}i", _SCALES[f"{letter}i"]) for letter in "EPTGMK"),
    *((letter, _SCALES[letter]) for letter in "EPTGMk"),
    ("", Decimal(1)),
)
_SHORT = 6


def format_amount(key: str, amount: Decimal) -> str:
    """`amount` of `key` for people: "2 GiB" of memory or storage, "0.5" cores, "4" servers.

    The text is exact wherever it can be short; where it cannot, it is rounded to two decimals and starts with "≈".
    """
    if amount < 0:
        return f"-{format_amount(key, -amount)}"
    return _format_size(amount) if key in (MEMORY, STORAGE) else _format_number(amount)


def _format_size(amount: Decimal) -> str:
    if not amount:
        return "0 B"
    units = [(unit, _EXACT.divide(amount, scale)) for unit, scale in _UNITS if amount >= scale or not unit]
    short = [f"{_plain(number)} {unit}B" for unit, number in units if len(_plain(number)) <= _SHORT]
    if short:
        return min(short, key=len)
    unit, number = units[0]
    return f"{_rounded(number)} {unit}B"


def _format_number(amount: Decimal) -> str:
    text = _plain(amount)
    return text if len(text.partition(".")[2]) <= 3 else _rounded(amount)


def _rounded(number: Decimal) -> str:
    if 0 < number < Decimal("0.01"):
        return "< 0.01"
    return f"≈ {_plain(number.quantize(Decimal('0.01'), rounding=ROUND_HALF_EVEN, context=_EXACT))}"


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_CPU_UNITS = (("", Decimal(1)), *((suffix, _SCALES[suffix]) for suffix in "mun"))


def format_quantity(key: str, amount: Decimal) -> str:
    """`amount` of `key` as a Kubernetes quantity: "2Gi", "500m", "4".

    Whole bytes and whole pieces, cpu in steps of 1n; what is finer is rounded up, as Kubernetes itself does.
    Raises QuantityError for a negative amount.
    """
    if amount < 0:
        raise QuantityError(str(amount), "is negative")
    if key == CPU:
        return _shortest(amount, _CPU_UNITS)
    return _shortest(amount, _UNITS if key in (MEMORY, STORAGE) else _UNITS[-1:])


def _shortest(amount: Decimal, units: Sequence[tuple[str, Decimal]]) -> str:
    finest = min(scale for _, scale in units)
    steps = _EXACT.divide(amount, finest).to_integral_value(rounding=ROUND_CEILING)
    whole = _EXACT.multiply(steps, finest)
    fitting = [(unit, _EXACT.divide(whole, scale)) for unit, scale in units]
    texts = [f"{_plain(number)}{unit}" for unit, number in fitting if number == number.to_integral_value()]
    return min(texts, key=len) if whole else "0"


class Resources(Mapping[str, Decimal]):
    """An immutable vector of amounts, zero where a key is absent.

    Units: cpu in cores, memory and storage in bytes, servers and accelerators in pieces. `vector[key]` never raises;
    iteration yields the keys that are not zero, in `sort_keys` order.
    """

    __slots__ = ("_amounts",)

    def __init__(self, amounts: Mapping[str, Decimal | int] | None = None) -> None:
        given = {key: Decimal(amount) for key, amount in (amounts or {}).items()}
        self._amounts = {key: given[key] for key in sort_keys(given) if given[key]}

    def __getitem__(self, key: str) -> Decimal:
        return self._amounts.get(key, Decimal(0))

    def __contains__(self, key: object) -> bool:
        return key in self._amounts

    def __iter__(self) -> Iterator[str]:
        return iter(self._amounts)

    def __len__(self) -> int:
        return len(self._amounts)

    def __hash__(self) -> int:
        return hash(tuple(self._amounts.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resources) and self._amounts == other._amounts

    def __repr__(self) -> str:
        return f"Resources({ {key: str(amount) for key, amount in self._amounts.items()} })"

    def __add__(self, other: Resources) -> Resources:
        return Resources({key: _EXACT.add(self[key], other[key]) for key in {*self, *other}})

    def __sub__(self, other: Resources) -> Resources:
        """The difference; entries may be negative where `other` is larger."""
        return Resources({key: _EXACT.subtract(self[key], other[key]) for key in {*self, *other}})

    def as_dict(self) -> dict[str, str]:
        """Plain JSON values, every amount as exact text."""
        return {key: str(amount) for key, amount in self.items()}

    @classmethod
    def from_dict(cls, texts: Mapping[str, str]) -> Resources:
        """What `as_dict` wrote. Raises TypeError or ArithmeticError where it did not."""
        return cls({key: Decimal(text) for key, text in texts.items()})

    def only(self, keys: Iterable[str]) -> Resources:
        """The part of the vector under `keys`."""
        return Resources({key: self[key] for key in keys})

    def exceeding(self, room: Mapping[str, Decimal]) -> list[str]:
        """Keys of which this vector wants more than `room` holds; keys that `room` does not have count as zero."""
        return [key for key in self if self[key] > room.get(key, Decimal(0))]
