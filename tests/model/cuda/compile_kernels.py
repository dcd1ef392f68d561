"""Compile all kernels for NVIDIA cards, which needs no card: what their machine code is like.

Run in a process of its own, without Triton's interpreter. For each kernel a line on stdout: its
name, compute capability, width, bytes of machine code, and reads of 16 bytes at once.
"""

from triton import compile as compile_source
from triton import next_power_of_2
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from rankformer.model.cuda import kernels

TILE = 4096
# Compute capability, width, and what stands for X and Y below.
CASES = (
    (80, 100, "fp16", "fp16"), (90, 256, "bf16", "bf16"), (90, 1152, "bf16", "fp32"),
    (100, 768, "bf16", "bf16"),
)  # fmt: skip
# X is what products give, Y are hidden states and weights.
ARGUMENTS = {
    "add_norm_rows": "update *X, hidden *Y, weight *Y, bias *Y, out *Y, summed *X, means *fp32, "
    "scales *fp32, n_rows i32, eps fp32, seed i64, dropout fp32",
    "add_norm_gradients": "gradient *Y, summed *X, means *fp32, scales *fp32, weight *Y, "
    "of_sum *Y, of_update *X, of_weight *fp32, of_bias *fp32, n_rows i32, n_tiles i32, seed i64, "
    "dropout fp32",
    "embed_norm_rows": "tokens *i64, positions *i64, token_table *Y, position_table *Y, "
    "type_row *Y, weight *Y, bias *Y, out *Y, n_rows i32, eps fp32",
    "mean_rows": "hidden *Y, places *i64, offsets *i64, out *fp32",
}
# What is decided when they are compiled.
VARIANTS = {
    "add_norm_rows": [
        {"KEEPS": keeps, "DROPS": drops}
        for keeps, drops in ((True, True), (True, False), (False, False))
    ],
    "add_norm_gradients": [{"DROPS": drops} for drops in (True, False)],
}


def compile_kernel(name, constants, dtypes, capability):
    kernel = getattr(kernels, name)
    listed = [each.split() for each in ARGUMENTS[name].split(", ")]
    kinds = {
        argument: kind.replace("X", dtypes[0]).replace("Y", dtypes[1]) for argument, kind in listed
    }
    kinds |= dict.fromkeys(constants, "constexpr")
    signature = {argument: kinds.pop(argument) for argument in kernel.arg_names}
    assert not kinds
    # torch's memory begins at multiples of 16 bytes.
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, kind in enumerate(signature.values()) if kind.startswith("*")
    }  # fmt: skip
    source = ASTSource(
        kernel, signature, {(kernel.arg_names.index(key),): constants[key] for key in constants},
        attrs=aligned,
    )  # fmt: skip
    return compile_source(source, target=GPUTarget("cuda", capability, 32))


def main():
    for capability, width, *dtypes in CASES:
        columns = next_power_of_2(width)
        shape = {"WIDTH": width, "COLUMNS": columns, "ROWS": max(TILE // columns, 1)}
        for name in ARGUMENTS:
            for more in VARIANTS.get(name, [{}]):
                tile = {"WIDTH": width, "COLUMNS": 128, "ROWS": 16}
                constants = (tile if name == "mean_rows" else shape) | more
                code = compile_kernel(name, constants, dtypes, capability).asm
                wide = code["ptx"].count("ld.global.v4")
                print(name, capability, width, len(code["cubin"]), wide)  # noqa: T201


if __name__ == "__main__":
    main()
