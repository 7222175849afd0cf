"""A plugin for mypy: parameters need no annotation to be keywords of their task's constructor.

In ``pyproject.toml``::

    [tool.mypy]
    plugins = ["flow.mypy"]

Without it, and for other checkers, a class is read like a dataclass, so that only annotated
parameters count: ``date: flow.DateParameter = flow.DateParameter()``. The plugin writes that
annotation into every class body of a task before mypy reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy.nodes import (
    ArgKind,
    AssignmentStmt,
    CallExpr,
    Expression,
    MemberExpr,
    NameExpr,
    TypeInfo,
)
from mypy.plugin import ClassDefContext, Plugin
from mypy.types import UnboundType

_TASK: Final = "flow.task.Task"
_PARAMETER: Final = "flow.parameters.base.Parameter"
#: Options that name the type of the value.
_TYPE_OPTIONS: Final = ("enum", "var_type")


class FlowPlugin(Plugin):
    """Reads the classes of tasks."""

    def get_customize_class_mro_hook(
        self, fullname: str
    ) -> Callable[[ClassDefContext], None] | None:
        """Return what looks at a class before its body is read."""
        return _annotate


def plugin(version: str) -> type[Plugin]:
    """Return the plugin, whatever mypy it is."""
    return FlowPlugin


def _annotate(context: ClassDefContext) -> None:
    if not any(base.fullname == _TASK for base in context.cls.info.mro[1:]):
        return
    for statement in context.cls.defs.body:
        if not isinstance(statement, AssignmentStmt) or statement.unanalyzed_type is not None:
            continue
        call = statement.rvalue
        if not isinstance(call, CallExpr) or not isinstance(statement.lvalues[0], NameExpr):
            continue
        name = _dotted(call.callee)
        if not name or not _is_parameter(context, name):
            continue
        if call.arg_kinds[:1] == [ArgKind.ARG_POS]:
            call.arg_kinds[0], call.arg_names[0] = ArgKind.ARG_NAMED, "default"
        types = [_dotted(_option(call, option)) for option in _TYPE_OPTIONS]
        arguments = [UnboundType(each, line=call.line) for each in types if each]
        annotation = UnboundType(name, arguments, line=call.line, column=call.column)
        statement.type = statement.unanalyzed_type = annotation
        statement.new_syntax = True


def _is_parameter(context: ClassDefContext, name: str) -> bool:
    found = context.api.lookup_qualified(name, context.cls, suppress_errors=True)
    node = found.node if found is not None else None
    return isinstance(node, TypeInfo) and node.has_base(_PARAMETER)


def _option(call: CallExpr, name: str) -> Expression | None:
    named = zip(call.arg_names, call.args, strict=True)
    return next((argument for each, argument in named if each == name), None)


def _dotted(expression: Expression | None) -> str:
    """Spell ``a.b.C``, or nothing for any other expression."""
    if isinstance(expression, MemberExpr):
        inner = _dotted(expression.expr)
        return f"{inner}.{expression.name}" if inner else ""
    return expression.name if isinstance(expression, NameExpr) else ""
