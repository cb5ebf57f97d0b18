"""Translation of PTX to Python: each basic block of a kernel becomes a function of NumPy arrays.

A register is an array with one entry for each thread of a block, or one number if all threads have the same.  Within a
basic block, registers are local variables.  The `machine` runs the functions and has the memory.
"""

import re
import struct
from typing import Any, NamedTuple

import numpy as np

TYPES = {"pred": np.dtype(np.bool_), "f16": np.dtype(np.float16), "f32": np.dtype(np.float32)}
TYPES |= {"f64": np.dtype(np.float64), "b16x2": np.dtype(np.uint32)}
for bits in (8, 16, 32, 64):
    TYPES |= {f"u{bits}": np.dtype(f"u{bits // 8}"), f"b{bits}": np.dtype(f"u{bits // 8}")}
    TYPES[f"s{bits}"] = np.dtype(f"i{bits // 8}")

SPECIAL = {"%tid.x": "tid", "%ntid.x": "ntid", "%ctaid.x": "ctaid", "%nctaid.x": "nctaid", "%laneid": "laneid"}
SPECIAL |= {f"%{name}.{axis}": "zero" for name in ("tid", "ctaid") for axis in "yz"}
SPECIAL |= {f"%{name}.{axis}": "one" for name in ("ntid", "nctaid") for axis in "yz"}

COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "lo": "<", "ls": "<=", "hi": ">"}
COMPARISONS["hs"] = ">="
ROUNDING = {"rzi": "np.trunc", "rni": "np.rint", "rmi": "np.floor", "rpi": "np.ceil"}
SYNCHRONISING = {"bar", "barrier", "shfl", "vote", "activemask"}
WITHOUT_EFFECT = {"membar", "fence", "prefetch", "pragma"}


class UnknownInstructionError(Exception):
    """An instruction that the emulator does not know."""


class Instruction(NamedTuple):
    """Operation with its modifiers, and operands; the operand of a vector is a tuple."""

    modifiers: tuple
    operands: tuple
    guard: Any  # (predicate, whether it is negated) or None


class Block(NamedTuple):
    """Basic block: its function, and how it ends.

    `kind` is "jump", "branch", "return", "barrier", "warp" or "shuffle".  The function returns the condition of a
    branch or the operands of a shuffle.
    """

    run: Any
    kind: str
    target: int
    following: int
    details: Any = None


# --- parsing -------------------------------------------------------------------------------------------------------


def _operands(text):
    """Split operands at commas; {a, b} and a|b become tuples."""
    found = []
    for part in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", text):
        part = part.strip()
        if part.startswith("{"):
            found.append(tuple(item.strip() for item in part[1:-1].split(",")))
        elif "|" in part:
            found.append(tuple(item.strip() for item in part.split("|")))
        else:
            found.append(part)
    return tuple(found)


def _statements(body):
    """Yield labels "name:" and statements of the body of a kernel."""
    for line in re.sub(r"//[^\n]*", "", body).split(";"):
        line = line.lstrip("{} \t\n").rstrip()
        while match := re.match(r"([$\w]+):\s*", line):
            yield match[0].strip()
            line = line[match.end() :].lstrip("{} \t\n")
        if line:
            yield line


def _instruction(statement):
    match = re.match(r"(?:@(!?)(%\w+)\s+)?([\w.:]+)\s*(.*)", statement, re.DOTALL)
    negated, predicate, operation, rest = match.groups()
    guard = (predicate, negated == "!") if predicate else None
    return Instruction(tuple(operation.replace("::", ":").split(".")), _operands(rest), guard)


def _functions(image):
    """Return the functions that kernels call: name -> (names of the parameters, statements)."""
    found = {}
    for match in re.finditer(r"\.func\s+\([^)]*\)\s*(\w+)\s*\(([^)]*)\)\s*\{", image):
        body = image[match.end() : image.index("\n}", match.end())]
        found[match[1]] = re.findall(r"\.param\s+\.\w+\s+(\w+)", match[2]), list(_statements(body))
    return found


def _inline(statements, functions):
    """Yield the statements of a kernel with the bodies of the functions instead of their calls."""
    variables, n_calls = {}, 0
    for statement in statements:
        if match := re.match(r"\.param\s+\.(\w+)\s+(\w+)$", statement):
            variables[match[2]] = f"%{match[2]}"
            yield f".reg .{match[1]} %{match[2]}"
        elif statement.startswith("call"):
            result, function, *arguments = re.findall(r"[\w$]+", statement.partition(" ")[2])
            n_calls += 1
            names = dict(zip(functions[function][0], (variables[name] for name in arguments), strict=True))
            for inner in functions[function][1]:
                inner = re.sub(r"%(?!n?(tid|ctaid)\b|laneid)(\w+)", rf"%call{n_calls}_\2", inner)
                inner = re.sub(r"\$(\w+)", rf"$call{n_calls}_\1", inner)
                inner = re.sub(r"\bret$", f"bra $call{n_calls}_end", inner)
                yield _move_parameter(inner, names | {"func_retval0": variables[result]})
            yield f"$call{n_calls}_end:"
        else:
            yield _move_parameter(statement, variables)


def _move_parameter(statement, variables):
    """Return a load or store of a parameter of a call as a copy of registers, and other statements unchanged."""
    if match := re.match(r"st\.param\.(\w+)\s+\[(\w+)\+?\d*\],\s*(\S+)$", statement):
        return f"mov.{match[1]} {variables[match[2]]}, {match[3]}"
    match = re.match(r"ld\.param\.(\w+)\s+(\S+),\s*\[(\w+)\+?\d*\]$", statement)
    return f"mov.{match[1]} {match[2]}, {variables[match[3]]}" if match and match[3] in variables else statement


class Kernel:
    """Code of a kernel: its parameters, registers, shared memory and basic blocks."""

    def __init__(self, image, name):
        start = image.index(f".entry {name}")
        header, _, rest = image[start:].partition("{")
        self.name = re.sub(r"B\d*v\d+.*", "", re.sub(r"^_Z\w*?kernels\d+", "", name)) or name
        self.parameters = re.findall(r"\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)\s+([\w$]+)(?=[,\s)])", header + " ")
        self.parameter_numbers = {parameter: k for k, (_, parameter) in enumerate(self.parameters)}
        self.shared, self.shared_size = {}, 0
        for alignment, symbol, size in re.findall(r"\.shared\s+\.align\s+(\d+)\s+\.b8\s+([\w$]+)\[(\d+)\]", image):
            self.shared_size = -(-self.shared_size // int(alignment)) * int(alignment)
            self.shared[symbol] = self.shared_size
            self.shared_size += int(size)
        self.register_types, self.register_numbers = {}, {}
        self.constants = {}
        self.blocks = self._split(_inline(_statements(rest[: rest.index("\n}")]), _functions(image)))

    def _split(self, statements):
        """Return the basic blocks of the statements."""
        groups, labels = [[]], {}
        for statement in statements:
            if statement.endswith(":"):
                if groups[-1]:
                    groups.append([])
                labels[statement[:-1]] = len(groups) - 1
            elif statement.startswith(".reg"):
                _, kind, names = statement.split(None, 2)
                for name in names.split(","):
                    self.register_types[re.match(r"%?[a-zA-Z_]\w*?(?=<|$|\d*$)", name.strip())[0]] = kind[1:]
            elif statement.startswith("."):
                if not statement.startswith((".shared", ".loc", ".pragma", ".file")):
                    raise UnknownInstructionError(statement)
            else:
                instruction = _instruction(statement)
                operation = instruction.modifiers[0]
                if instruction.guard and operation not in ("bra", "ret", "exit"):
                    label = f"after {len(groups)}"
                    predicate, negated = instruction.guard
                    groups[-1].append(Instruction(("bra",), (label,), (predicate, not negated)))
                    groups += [[instruction._replace(guard=None)], []]
                    labels[label] = len(groups) - 1
                    continue
                groups[-1].append(instruction)
                if operation in ("bra", "ret", "exit") or operation in SYNCHRONISING:
                    groups.append([])
        return [_BlockWriter(self, labels).write(group, k) for k, group in enumerate(groups)]

    def type_of(self, register):
        """Return the declared type of a register."""
        prefix = re.match(r"%?[a-zA-Z_]\w*?(?=\d*$)", register)[0]
        return TYPES[self.register_types[prefix]]

    def number_of(self, register):
        """Return the position of a register among those of the kernel."""
        return self.register_numbers.setdefault(register, len(self.register_numbers))

    def constant(self, value):
        """Return the name of a constant in the code of the kernel."""
        name = f"c_{value.dtype.name}_{value.tobytes().hex()}"
        self.constants[name] = value
        return name


# --- one basic block -----------------------------------------------------------------------------------------------


class _BlockWriter:
    """The Python code of a basic block."""

    def __init__(self, kernel, labels):
        self.kernel, self.labels = kernel, labels
        self.lines, self.loads, self.types, self.written = [], [], {}, {}

    def write(self, instructions, number):
        """Return the `Block` of the instructions."""
        kind, target, details, result = "jump", number + 1, None, None
        for instruction in instructions:
            operation = instruction.modifiers[0]
            if operation == "bra":
                target = self.labels[instruction.operands[0]]
                if instruction.guard:
                    predicate, negated = instruction.guard
                    kind, result = "branch", f"{'~' if negated else ''}{self.read(predicate, TYPES['pred'])}"
            elif operation in ("ret", "exit"):
                kind = "return"
                if instruction.guard:
                    predicate, negated = instruction.guard
                    kind, target = "branch", -1
                    result = f"{'~' if negated else ''}{self.read(predicate, TYPES['pred'])}"
            elif operation in SYNCHRONISING:
                kind, result, details = self._synchronise(instruction)
            elif operation not in WITHOUT_EFFECT:
                self._translate(instruction)
        code = ["def run(S, R, act):", *self.loads, *self.lines]
        for register, dtype in self.written.items():
            name, declared = _variable(register), self.kernel.type_of(register)
            value = name if dtype == declared else f"{name}.view({self._dtype(declared)})"
            code.append(f" put(S, R, {self.kernel.number_of(register)}, {value}, act)")
        code.append(f" return {result}")
        return Block(_compiled(code, self.kernel.constants), kind, target, number + 1, details)

    # --- operands ------------------------------------------------------------------------------------------------

    @staticmethod
    def _dtype(dtype):
        return f"t_{dtype.name}"

    def read(self, operand, dtype):
        """Return the expression of an operand, in the type of the instruction."""
        if operand in SPECIAL:
            return self._as(f"S.{SPECIAL[operand]}[act]" if operand in ("%tid.x", "%laneid") else
                            f"S.{SPECIAL[operand]}", TYPES["u32"], dtype)  # fmt: skip
        if operand.startswith("%") or operand in self.types:
            if operand not in self.types:
                number = self.kernel.number_of(operand)
                self.loads.append(f" {_variable(operand)} = get(R[{number}], act)")
                self.types[operand] = self.kernel.type_of(operand)
            return self._as(_variable(operand), self.types[operand], dtype)
        if match := re.fullmatch(r"0[fF]([0-9a-fA-F]{8})", operand):
            value = np.frombuffer(struct.pack("<I", int(match[1], 16)), np.float32)[0]
        elif match := re.fullmatch(r"0[dD]([0-9a-fA-F]{16})", operand):
            value = np.frombuffer(struct.pack("<Q", int(match[1], 16)), np.float64)[0]
        elif re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", operand):
            size = 8 * dtype.itemsize
            value = np.array(int(operand.rstrip("U"), 0) % 2**size, f"u{dtype.itemsize}").view(dtype)[()]
            value = np.bool_(int(operand, 0)) if dtype == np.bool_ else value
        elif operand in self.kernel.shared:
            value = np.uint64(self.kernel.shared[operand]).astype(dtype)
        else:
            raise UnknownInstructionError(f"operand {operand}")
        return self._as(self.kernel.constant(value), value.dtype, dtype)

    def _as(self, expression, held, dtype):
        if held == dtype:
            return expression
        if held.itemsize == dtype.itemsize:
            return f"{expression}.view({self._dtype(dtype)})"
        if held.itemsize > dtype.itemsize:
            low = f"{expression}.view(t_uint{8 * held.itemsize}).astype(t_uint{8 * dtype.itemsize})"
            return f"{low}.view({self._dtype(dtype)})"
        raise UnknownInstructionError(f"{expression} of {held} read as {dtype}")

    def assign(self, register, expression, dtype):
        """Set a register to a value of a type; a wider register is extended."""
        if register == "_":
            self.lines.append(f" {expression}")
            return
        declared = self.kernel.type_of(register)
        if declared.itemsize > dtype.itemsize:
            wide = np.dtype(f"{'i' if dtype.kind == 'i' else 'u'}{declared.itemsize}")
            if dtype.kind == "f":
                expression = f"({expression}).view(t_uint{8 * dtype.itemsize})"
            expression, dtype = f"({expression}).astype({self._dtype(wide)})", wide
        self.lines.append(f" {_variable(register)} = {expression}")
        self.types[register] = self.written[register] = dtype

    def _address(self, operand):
        match = re.fullmatch(r"\[\s*([%\w$]+)\s*(?:\+\s*(-?\w+))?\s*\]", operand)
        base, offset = match[1], int(match[2] or "0", 0)
        is_wide = not base.startswith("%") or self.kernel.type_of(base).itemsize == 8
        expression = self.read(base, TYPES["u64" if is_wide else "u32"])
        expression = expression if is_wide else f"{expression}.astype(t_uint64)"
        return f"{expression} + {self.kernel.constant(np.uint64(offset % 2**64))}" if offset else expression

    # --- instructions --------------------------------------------------------------------------------------------

    def _translate(self, instruction):
        modifiers, operands, _ = instruction
        operation, kind = modifiers[0], modifiers[-1]
        dtype = TYPES.get(kind)
        method = getattr(self, f"_{operation}", None)
        if method is not None:
            method(modifiers, operands, dtype)
            return
        expression = self._arithmetic(modifiers, operands, dtype)
        if expression is None:
            raise UnknownInstructionError(".".join(modifiers))
        result = dtype
        if "wide" in modifiers:
            result = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}")
        self.assign(operands[0], expression, result)

    def _arithmetic(self, modifiers, operands, dtype):
        """Return the expression of an instruction of arithmetic, or None."""
        operation, is_float = modifiers[0], dtype is not None and dtype.kind == "f"
        if operation in ("shl", "shr"):
            a, n = self.read(operands[1], dtype), self.read(operands[2], TYPES["u32"])
            return f"{operation}({a}, {n})"
        if operation in ("mad", "mul") and "wide" in modifiers:
            wide = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}")
            a, b = (f"{self.read(operand, dtype)}.astype({self._dtype(wide)})" for operand in operands[1:3])
            return f"{a} * {b}" + (f" + {self.read(operands[3], wide)}" if operation == "mad" else "")
        arguments = [self.read(operand, dtype) for operand in operands[1:]]
        if operation == "mul" and "hi" in modifiers:
            return f"mul_hi({', '.join(arguments)})"
        if operation == "mad" and "lo" in modifiers:
            return "{} * {} + {}".format(*arguments)
        down = next((name for name in ("rm", "rz", "rp") if name in modifiers), None)
        if operation in ("fma", "add", "sub", "mul") and is_float and down:
            signature = {"fma": "{} * {} + {}", "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}"}[operation]
            return f"directed({signature.format(*(f'np.float64({a})' for a in arguments))}, '{down}')"
        if operation == "fma":
            wide = "np.float64" if dtype == np.float32 else "np.longdouble"
            product = "{} * {} + {}".format(*(f"{wide}({a})" for a in arguments))
            return f"({product}).astype({self._dtype(dtype)})"
        signs = {"add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^"}
        if operation in signs:
            return f"{arguments[0]} {signs[operation]} {arguments[1]}"
        if operation in ("div", "rem") and not is_float:
            return f"{operation}(S, {', '.join(arguments)})"
        names = {
            "div": "np.divide", "sqrt": "np.sqrt", "ex2": "np.exp2", "lg2": "np.log2", "abs": "np.abs", "not": "~",
            "neg": "-", "min": "np.fmin" if is_float else "np.minimum", "max": "np.fmax" if is_float else "np.maximum",
            "rcp": "reciprocal", "rsqrt": "reciprocal_root", "sin": "np.sin", "cos": "np.cos", "popc": "count_bits",
            "tanh": "np.tanh",
        }  # fmt: skip
        return f"{names[operation]}({', '.join(arguments)})" if operation in names else None

    def _copysign(self, modifiers, operands, dtype):
        sign, size = (self.read(operand, dtype) for operand in operands[1:])
        self.assign(operands[0], f"np.copysign({size}, {sign})", dtype)

    def _bfi(self, modifiers, operands, dtype):
        bits, target = (self.read(operand, dtype) for operand in operands[1:3])
        position, length = (self.read(operand, TYPES["u32"]) for operand in operands[3:])
        self.assign(operands[0], f"insert_bits({bits}, {target}, {position}, {length})", dtype)

    def _cvta(self, modifiers, operands, dtype):
        self.assign(operands[0], self.read(operands[1], dtype), dtype)

    def _mov(self, modifiers, operands, dtype):
        target, source = operands
        if isinstance(target, tuple):
            half = np.dtype(f"u{dtype.itemsize // len(target)}")
            value = self.read(source, np.dtype(f"u{dtype.itemsize}"))
            for k, register in enumerate(target):
                part = f"shr({value}, np.uint32({8 * k * half.itemsize})).astype({self._dtype(half)})"
                self.assign(register, part, half)
        elif isinstance(source, tuple):
            half, whole = np.dtype(f"u{dtype.itemsize // len(source)}"), np.dtype(f"u{dtype.itemsize}")
            parts = [
                f"shl({self.read(register, half)}.astype({self._dtype(whole)}), np.uint32({8 * k * half.itemsize}))"
                for k, register in enumerate(source)
            ]
            self.assign(target, " | ".join(parts), whole)
        else:
            self.assign(target, self.read(source, dtype), dtype)

    def _setp(self, modifiers, operands, dtype):
        comparison, boolean = modifiers[1], modifiers[2] if len(modifiers) > 3 and modifiers[2] != "ftz" else None
        a, b = (self.read(operand, dtype) for operand in operands[1:3])
        if comparison in ("nan", "num"):
            expression = f"{'~' if comparison == 'num' else ''}(np.isnan({a}) | np.isnan({b}))"
        elif dtype.kind == "f" and comparison.endswith("u"):
            inverse = {"lt": ">=", "le": ">", "gt": "<=", "ge": "<"}
            if comparison == "neu":
                expression = f"({a} != {b})"
            elif comparison == "equ":
                expression = f"(({a} == {b}) | np.isnan({a}) | np.isnan({b}))"
            else:  # true of NaN
                expression = f"~({a} {inverse[comparison[:-1]]} {b})"
        elif dtype.kind == "f" and comparison == "ne":
            expression = f"(({a} < {b}) | ({a} > {b}))"
        else:
            expression = f"({a} {COMPARISONS[comparison]} {b})"
        if boolean:
            sign = {"and": "&", "or": "|", "xor": "^"}[boolean]
            expression = f"{expression} {sign} {self.read(operands[3], TYPES['pred'])}"
        self.assign(operands[0], expression, TYPES["pred"])

    def _selp(self, modifiers, operands, dtype):
        a, b = (self.read(operand, dtype) for operand in operands[1:3])
        self.assign(operands[0], f"select({self.read(operands[3], TYPES['pred'])}, {a}, {b})", dtype)

    def _cvt(self, modifiers, operands, dtype):
        target, rounding = TYPES[modifiers[-2]], [name for name in modifiers[1:-2] if name in ROUNDING]
        value = self.read(operands[1], dtype)
        if rounding:
            value = f"{ROUNDING[rounding[0]]}({value})"
        if target.kind in "iu" and dtype.kind == "f":
            value = f"to_integer({value}, {self._dtype(target)})"
        elif target != dtype:
            value = f"{value}.astype({self._dtype(target)})"
        if "sat" in modifiers:
            value = f"saturate({value})"
        self.assign(operands[0], value, target)

    def _ld(self, modifiers, operands, dtype):
        targets = operands[0] if isinstance(operands[0], tuple) else (operands[0],)
        if "param" in modifiers:
            number = self.kernel.parameter_numbers[operands[1].strip("[] ")]
            self.assign(targets[0], f"S.arguments[{number}].view({self._dtype(dtype)})", dtype)
            return
        space = "shared" if "shared" in modifiers else "global"
        self.lines.append(f" at = S.aligned({self._address(operands[1])}, {dtype.itemsize * len(targets)}, 'load')")
        for k, register in enumerate(targets):
            offset = f" + np.uint64({k * dtype.itemsize})" if k else ""
            self.assign(register, f"S.load_{space}(at{offset}, {self._dtype(dtype)}, act)", dtype)

    def _st(self, modifiers, operands, dtype):
        values = operands[1] if isinstance(operands[1], tuple) else (operands[1],)
        space = "shared" if "shared" in modifiers else "global"
        self.lines.append(f" at = S.aligned({self._address(operands[0])}, {dtype.itemsize * len(values)}, 'store')")
        for k, operand in enumerate(values):
            offset = f" + np.uint64({k * dtype.itemsize})" if k else ""
            self.lines.append(f" S.store_{space}(at{offset}, {self.read(operand, dtype)}, {self._dtype(dtype)}, act)")

    def _atom(self, modifiers, operands, dtype):
        operation = next(name for name in modifiers if name in ("add", "min", "max", "cas", "exch", "or", "and"))
        space = "shared" if "shared" in modifiers else "global"
        values = ", ".join(self.read(operand, dtype) for operand in operands[2:])
        address = f"S.aligned({self._address(operands[1])}, {dtype.itemsize}, 'atomic')"
        expression = f"S.atomic('{space}', '{operation}', {address}, {self._dtype(dtype)}, act, {values})"
        self.assign(operands[0], expression, dtype)

    def _red(self, modifiers, operands, dtype):
        self._atom(modifiers, ("_", *operands), dtype)

    def _synchronise(self, instruction):
        """Return the kind, the operands and the details of an instruction that threads execute together."""
        modifiers, operands, _ = instruction
        u32 = TYPES["u32"]
        if modifiers[0] in ("bar", "barrier"):
            if "warp" in modifiers:
                return "warp", self.read(operands[0], u32), ("sync", None, None)
            return "barrier", None, None
        if modifiers[0] == "activemask":
            return "shuffle", "None", ("activemask", (operands[0],), self._setter((operands[0],)))
        if modifiers[0] == "vote":
            source = self.read(operands[1].lstrip("!"), TYPES["pred"])
            source = f"~{source}" if operands[1].startswith("!") else source
            target = (operands[0],)
            return "shuffle", f"({source}, {self.read(operands[2], u32)})", ("vote", modifiers[2], self._setter(target))
        target = operands[0] if isinstance(operands[0], tuple) else (operands[0],)
        values = ", ".join(self.read(operand, u32) for operand in operands[1:])
        return "shuffle", f"({values},)", ("shfl", modifiers[2], self._setter(target))

    def _setter(self, registers):
        """Return pairs of number and type of the registers that an instruction sets."""
        return [
            (self.kernel.number_of(register), self.kernel.type_of(register))
            for register in registers
            if register != "_"
        ]


def _variable(register):
    return "r_" + re.sub(r"\W", "_", register)


def _compiled(code, constants):
    space = FUNCTIONS | constants
    exec(compile("\n".join(code), "<ptx>", "exec"), space)
    return space["run"]


# --- functions of the translated code ------------------------------------------------------------------------------


def get(value, act):
    """Return the entries of a register for the active threads."""
    return value if value.ndim == 0 else value[act]


def put(S, R, number, value, act):
    """Set a register for the active threads; arrays of registers are never changed in place."""
    if isinstance(act, slice):
        R[number] = value
        return
    before = R[number]
    after = np.array(np.broadcast_to(before, S.n_threads), copy=True, dtype=value.dtype)
    after[act] = value
    R[number] = after


def shl(a, n):
    """a << n; 0 if n is at least the number of bits"""
    bits = 8 * a.dtype.itemsize
    return select(n < bits, np.left_shift(a, np.minimum(n, bits - 1).astype(a.dtype)), a.dtype.type(0))


def shr(a, n):
    """a >> n; the sign, or 0, if n is at least the number of bits"""
    bits = 8 * a.dtype.itemsize
    shifted = np.right_shift(a, np.minimum(n, bits - 1).astype(a.dtype))
    return shifted if a.dtype.kind == "i" else select(n < bits, shifted, a.dtype.type(0))


def insert_bits(bits, target, position, length):
    """Return `target` with the lowest `length` bits of `bits` at a position."""
    one = target.dtype.type(1)
    mask = shl(shl(np.asarray(one), length) - one, position)
    return (target & ~mask) | (shl(bits, position) & mask)


def select(condition, a, b):
    """A if condition else b"""
    return (a if condition else b) if condition.ndim == 0 else np.where(condition, a, b)


def _nonzero(S, b):
    if np.any(b == 0):
        S.fault("integer division by zero", "")
    return b


def div(S, a, b):
    """a / b, rounded towards zero"""
    b = _nonzero(S, b)
    if a.dtype.kind == "u":
        return a // b
    quotient = a // b
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype)


def rem(S, a, b):
    """A - b trunc(a / b)"""
    return a % b if a.dtype.kind == "u" and np.all(b) else a - div(S, a, b) * b


def mul_hi(a, b):
    """Return the upper half of a product."""
    bits = 8 * a.dtype.itemsize
    product = np.asarray(a).astype(object) * np.asarray(b).astype(object)
    return (product >> bits).astype(a.dtype)[()]


def directed(exact, direction):
    """Return the float32 next to a number in float64 in a direction: "rm" down, "rp" up, "rz" towards zero."""
    rounded = exact.astype(np.float32)
    wide = rounded.astype(np.float64)
    down = (wide > exact) & ((direction == "rm") | ((direction == "rz") & (exact > 0)))
    up = (wide < exact) & ((direction == "rp") | ((direction == "rz") & (exact < 0)))
    rounded = select(down, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return select(up, np.nextafter(rounded, np.float32(np.inf)), rounded)


def to_integer(value, dtype):
    """Return the nearest number of an integer type; 0 of NaN."""
    limits = np.iinfo(dtype)
    clipped = np.clip(np.nan_to_num(value.astype(np.longdouble), nan=0.0), limits.min, limits.max)
    return clipped.astype(dtype)


def saturate(value):
    """Return the nearest number in [0, 1]; 0 of NaN."""
    return np.fmin(np.fmax(value, value.dtype.type(0)), value.dtype.type(1))


def reciprocal(a):
    """1 / a"""
    return a.dtype.type(1) / a


def reciprocal_root(a):
    """1 / sqrt(a)"""
    return a.dtype.type(1) / np.sqrt(a)


def count_bits(a):
    """Return the number of bits that are set."""
    return np.bitwise_count(a).astype(np.uint32)


FUNCTIONS = {
    function.__name__: function
    for function in (get, put, shl, shr, select, div, rem, mul_hi, directed, to_integer, saturate, reciprocal)
}
FUNCTIONS |= {"reciprocal_root": reciprocal_root, "count_bits": count_bits, "insert_bits": insert_bits, "np": np}
FUNCTIONS |= {f"t_{dtype.name}": dtype for dtype in TYPES.values()}
