"""Types within rules, each found once.

numba goes over a function's statements until no type changes any more, and asks each time of each
operator which of its many versions fits the operands; then once more when it makes code. Rules have
thousands of operators, of few kinds.
"""

from __future__ import annotations

from typing import Any, Self

from numba import types
from numba.core.lowering import Lower


class RuleTyping:
    """A typing context of numba's that remembers its answers."""

    _one: Self | None = None

    def __init__(self, context: Any) -> None:
        self._context = context
        self._calls: dict[Any, Any] = {}
        self._attributes: dict[Any, Any] = {}

    @classmethod
    def of(cls, context: Any) -> Self:
        """The one of this context."""
        if cls._one is None or cls._one._context is not context:
            cls._one = cls(context)
        return cls._one

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        """See numba's own; of operators and numba's functions it is remembered."""
        if kws or isinstance(func, types.Callable) and not isinstance(func, types.Function):
            return self._context.resolve_function_type(func, args, kws)
        key = (func, tuple(args))
        if key not in self._calls:
            found = self._context.resolve_function_type(func, args, kws)
            if found is None:
                return None
            self._calls[key] = found
        return self._calls[key]

    def resolve_getattr(self, typ: Any, attr: str) -> Any:
        """See numba's own; of records it is remembered."""
        if not isinstance(typ, types.Record):
            return self._context.resolve_getattr(typ, attr)
        key = (typ, attr)
        if key not in self._attributes:
            self._attributes[key] = self._context.resolve_getattr(typ, attr)
        return self._attributes[key]


class RuleLower(Lower):
    """Makes code of operators as they were typed, without another search."""

    def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
        """See numba's own, which tries literals first, of which rules have none left."""
        if expr.op != "binop":  # typed as another operator, `+=`
            return super().lower_binop(resty, expr, op)
        op = self.context.typing_context.resolve_value_type(op)
        signature = self.fndesc.calltypes[expr]
        operands = [
            self.context.cast(self.builder, self.loadvar(one.name), self.typeof(one.name), want)
            for one, want in zip((expr.lhs, expr.rhs), signature.args, strict=True)
        ]
        found = self.context.get_function(op, signature)(self.builder, operands)
        return self.context.cast(self.builder, found, signature.return_type, resty)
