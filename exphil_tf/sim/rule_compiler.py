"""How numba compiles a rule: by the passes that a rule needs, to code that is not yet optimized.

Only rules and kernels call a rule, and a kernel is optimized as a whole, its rules inlined. By
default numba optimizes each rule with all that it calls and makes machine code of it that never
runs; and it looks for closures, contexts and literals to unroll, of which rules have none: a third
of the time to compile. The classes here are numba's own, by its "Customizing the Compiler".
"""

from __future__ import annotations

from typing import Any, Literal

from numba import types
from numba._dynfunc import make_function
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import (
    AnnotateTypes,
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import (
    FixupArgs,
    InlineInlinables,
    IRProcessing,
    ReconstructSSA,
    TranslateByteCode,
)


class RuleDispatcher(CPUDispatcher):
    """A rule, compiled once for all numbers that it is called with.

    numba would compile it anew for each number that stands in a call; LLVM finds those itself.
    """

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """See numba's own."""
        args = tuple(types.unliteral(one) for one in args)
        return super().get_call_template(args, {n: types.unliteral(one) for n, one in kws.items()})


_NOWHERE = 0
"""Address of code that is never called."""


class _Unoptimized(JITCodeLibrary):
    """LLVM's text of a rule and of what it calls, to be linked into a kernel."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    """Makes LLVM's text of a rule, and tells numba where callers find it."""

    _name = "rule_lowering"

    def run_pass(self, state: Any) -> Literal[True]:
        state.library = _Unoptimized(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        found = state["cr"]
        name = found.fndesc.qualname
        # Callers ask for a rule by this object.
        entry = make_function(
            found.fndesc.lookup_module(), name, name, _NOWHERE, found.env, (state.library,)
        )
        state.targetctx.insert_user_function(entry, found.fndesc, [state.library])
        state["cr"] = found._replace(cfunc=entry)
        return True


class RuleCompiler(CompilerBase):
    """`pipeline_class` of rules."""

    def define_pipelines(self) -> list[PassManager]:
        """One after another, as numba's own."""
        passes = PassManager("rule")
        for one in (
            TranslateByteCode,
            FixupArgs,
            IRProcessing,
            InlineInlinables,
            ReconstructSSA,
            NopythonTypeInference,
            PreLowerStripPhis,
            IRLegalization,
            AnnotateTypes,
            _Lowering,
            NoPythonBackend,
        ):
            passes.add_pass(one, one.__name__)
        passes.finalize()
        return [passes]
