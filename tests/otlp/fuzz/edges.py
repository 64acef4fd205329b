"""Counters on the branches of numba kernels, which lead libFuzzer as those of a C compiler would.

`instrument` stands itself before `numba.njit`, so it must run before a module with kernels is imported.
"""

import ast
import ctypes
import inspect
import sys
import textwrap
from types import FunctionType

import numba
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

ROOM = 4096
SYMBOL = "spanhouse_edges"
counters = (ctypes.c_uint8 * ROOM)()
places: list[str] = []  # of each counter that is used


@intrinsic
def _edge(_context, _index):
    def codegen(context, builder, _signature, args):
        array = builder.module.globals.get(SYMBOL) or ir.GlobalVariable(
            builder.module, ir.ArrayType(ir.IntType(8), ROOM), SYMBOL
        )
        place = builder.gep(array, [ir.IntType(64)(0), args[0]])
        count, most = builder.load(place), ir.IntType(8)(255)
        more = builder.add(count, ir.IntType(8)(1))
        builder.store(builder.select(builder.icmp_unsigned("==", count, most), most, more), place)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


class _Edges(ast.NodeTransformer):
    """Counts calls of a function, and how often each branch is taken, each loop run through and left."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _edge(self, near: ast.stmt, what: str = "") -> ast.stmt:
        assert len(places) < ROOM
        places.append(f"{self._name}:{near.lineno}{what}")
        call = ast.parse(f"_edge({len(places) - 1})").body[0]
        for node in ast.walk(call):
            ast.copy_location(node, near)
        return call

    def visit_FunctionDef(self, node):
        node.decorator_list = []
        node.body.insert(0, self._edge(node))
        self.generic_visit(node)
        return node

    def visit_If(self, node):
        node.body.insert(0, self._edge(node.body[0]))
        node.orelse.insert(0, self._edge(node, " not"))
        self.generic_visit(node)
        return node

    def visit_For(self, node):
        node.body.insert(0, self._edge(node.body[0]))
        self.generic_visit(node)
        return [node, self._edge(node, " done")]

    def visit_While(self, node):
        node.body.insert(0, self._edge(node.body[0]))
        self.generic_visit(node)
        return node if isinstance(node.test, ast.Constant) else [node, self._edge(node, " done")]


def _count(function: FunctionType) -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    tree = _Edges(function.__module__.rpartition(".")[2] + ".py").visit(tree)
    scope = function.__globals__ | {}
    exec(compile(tree, function.__code__.co_filename, "exec"), scope)
    function.__code__ = scope[function.__name__].__code__
    function.__globals__["_edge"] = _edge


def instrument() -> None:
    """Make numba count in all kernels from here on, and take a negative index for what it is: a mistake."""
    compiler = numba.njit

    def njit(function, **options):
        if not function.__module__.startswith("spanhouse."):
            return compiler(function, **options)
        _count(function)
        options.pop("forceinline", None)  # it takes twice as long to compile
        return compiler(function, **options)

    numba.njit = njit
    arrayobj.fix_integer_index = lambda context, builder, kind, index, _size: context.cast(
        builder, index, kind, types.intp if kind.signed else types.uintp
    )
    binding.add_symbol(SYMBOL, ctypes.addressof(counters))


class _Place(ctypes.Structure):
    _fields_ = (("address", ctypes.c_size_t), ("flags", ctypes.c_size_t))


def register() -> None:
    """Give the counters to libFuzzer, which is there once it runs."""
    fuzzer = ctypes.CDLL(sys.modules["atheris.core_with_libfuzzer"].__file__)
    start = ctypes.addressof(counters)
    fuzzer.__sanitizer_cov_8bit_counters_init(ctypes.c_void_p(start), ctypes.c_void_p(start + len(places)))
    register.table = table = (_Place * len(places))(*((start + i, 0) for i in range(len(places))))
    begin = ctypes.addressof(table)
    fuzzer.__sanitizer_cov_pcs_init(ctypes.c_void_p(begin), ctypes.c_void_p(begin + ctypes.sizeof(table)))
