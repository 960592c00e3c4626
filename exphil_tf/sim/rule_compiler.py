"""How numba compiles a rule: by the passes that a rule needs, to code that is not yet optimized.

Only rules and kernels call a rule, and a kernel is optimized as a whole, its rules inlined. By
default numba optimizes each rule with all that it calls and makes machine code of it that never
runs; and it looks for closures, contexts and literals to unroll, of which rules have none: a third
of the time to compile. What is left is shortened where numba does the same again and again: types
of operators (`rule_typing`), callees linked into each of their callers. The classes here are
numba's own, by its "Customizing the Compiler".
"""

from __future__ import annotations

import gc
from typing import Any, Literal

from numba import types
from numba._dynfunc import make_function
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import LoweringPass, PassManager, register_pass
from numba.core.registry import CPUDispatcher
from numba.core.transforms import canonicalize_cfg
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import FixupArgs, ReconstructSSA, TranslateByteCode

from exphil_tf.sim.rule_typing import RuleLower, RuleTyping


class RuleDispatcher(CPUDispatcher):
    """A rule, compiled once for all numbers that it is called with.

    numba would compile it anew for each number that stands in a call; LLVM finds those itself.
    """

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """See numba's own."""
        args = tuple(types.unliteral(one) for one in args)
        return super().get_call_template(args, {n: types.unliteral(one) for n, one in kws.items()})


class KernelDispatcher(CPUDispatcher):
    """A kernel, compiled without looks for garbage, which took a tenth of the time.

    Nearly all that a compiler makes stays until it is done.
    """

    def compile(self, sig: Any) -> Any:
        """See numba's own."""
        was_on = gc.isenabled()
        gc.disable()
        try:
            return super().compile(sig)
        finally:
            if was_on:
                gc.enable()


_NOWHERE = 0
"""Address of code that is never called."""


class _Unoptimized(JITCodeLibrary):
    """A rule's code without that of what it calls, to be linked into a kernel with it."""

    def needed(self) -> list[Any]:
        """Libraries that a caller has to link: this one, and whatever it calls."""
        return list(dict.fromkeys([self, *self._linking_libraries]))

    def finalize(self) -> None:
        """Nothing is linked, optimized or verified: a kernel does it once."""
        self._finalized = True

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _get_module_for_linking(self) -> Any:
        """As numba's own, of no copy: nobody else has use for it."""
        if self._shared_module is None:
            self._shared_module = self._final_module
            for one in self._final_module.functions:
                if not one.is_declaration and one.linkage.name == "external":
                    one.linkage = "linkonce_odr"
        return self._shared_module


class _Lowering(NativeLowering):
    """Makes LLVM's text of a rule, and tells numba where callers find it."""

    _name = "rule_lowering"

    @property
    def lowering_class(self) -> type[RuleLower]:
        return RuleLower

    def run_pass(self, state: Any) -> Literal[True]:
        library = _Unoptimized(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library = library
        state.flags.no_compile = True
        super().run_pass(state)
        library.finalize()
        found = state["cr"]
        name = found.fndesc.qualname
        # Callers ask for a rule by this object.
        entry = make_function(
            found.fndesc.lookup_module(), name, name, _NOWHERE, found.env, (library,)
        )
        state.targetctx.insert_user_function(entry, found.fndesc, library.needed())
        state["cr"] = found._replace(cfunc=entry)
        return True


@register_pass(mutates_CFG=False, analysis_only=True)
class _Rule(LoweringPass):
    """All passes as one: before each numba writes down of which types the rule is."""

    _name = "rule"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> Any:
        for one in (TranslateByteCode, FixupArgs):
            one().run_pass(state)
        state.func_ir.blocks = canonicalize_cfg(state.func_ir.blocks)
        ReconstructSSA().run_pass(state)
        context, state.typingctx = state.typingctx, RuleTyping.of(state.typingctx)
        NopythonTypeInference().run_pass(state)
        state.typingctx = context
        for one in (PreLowerStripPhis, IRLegalization, _Lowering, NoPythonBackend):
            one().run_pass(state)
        return True


class RuleCompiler(CompilerBase):
    """`pipeline_class` of rules."""

    def define_pipelines(self) -> list[PassManager]:
        """One, of one pass."""
        passes = PassManager("rule")
        passes.add_pass(_Rule, "rule")
        passes.finalize()
        return [passes]
