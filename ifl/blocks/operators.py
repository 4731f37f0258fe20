"""Lists the operators that a block's program may call: they compute, and do nothing else.

None of them reads a file or memory that is not initialised, draws random numbers, or writes into
what it is given. What is not listed here is not run.
"""

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ifl.errors import BlockError

ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)", re.ASCII)
ON_SIZES: dict[str, Callable[..., Any]] = {  # of sizes, which are whole numbers
    f"_operator.{name}": getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "mod")
}
VIEWS = {f"torch.ops.aten.{name}.default" for name in ("view", "_unsafe_view")}
OF_TRAINING = ("train", "training", "dropout_p")  # arguments that have to be false or 0
NAMES = """
abs acos acosh add addcdiv addcmul asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or
ceil clamp clamp_max clamp_min cos cosh div eq erf erfc exp exp2 expm1 floor floor_divide fmod ge gt
hypot isfinite isinf isnan le lerp log log10 log1p log2 logical_and logical_not logical_or
logical_xor lt masked_fill maximum minimum mul nan_to_num ne neg pow reciprocal remainder round
rsqrt rsub sign sin sinh sqrt square sub tan tanh trunc where

_log_softmax _softmax celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu
log_sigmoid log_softmax mish prelu relu relu6 selu sigmoid silu softmax softplus softshrink
threshold

_cdist_forward _euclidean_dist addmm baddbmm bilinear bmm cdist cosine_similarity dot einsum
linalg_vector_norm linear matmul mm mv norm outer scaled_dot_product_attention

_adaptive_avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
adaptive_max_pool1d adaptive_max_pool2d avg_pool1d avg_pool2d avg_pool3d channel_shuffle conv1d
conv2d conv3d conv_transpose1d conv_transpose2d convolution im2col max_pool1d max_pool2d
max_pool2d_with_indices max_pool3d pixel_shuffle pixel_unshuffle upsample_bicubic2d
upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d

_fused_rms_norm _native_batch_norm_legit_no_training batch_norm group_norm instance_norm layer_norm
native_group_norm native_layer_norm rms_norm

_fft_c2c _fft_c2r _fft_r2c fft_fft fft_fft2 fft_ifft fft_ifft2 fft_irfft fft_irfft2 fft_rfft
fft_rfft2 imag real view_as_complex view_as_real

embedding gru gru_cell lstm lstm_cell one_hot rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell

_to_copy _unsafe_view alias cat chunk clone concat constant_pad_nd contiguous detach diagonal expand
expand_as flatten flip gather index index_select lift_fresh_copy movedim narrow pad permute
reflection_pad1d reflection_pad2d repeat repeat_interleave replication_pad1d replication_pad2d
reshape roll scatter select select_scatter slice slice_scatter split split_with_sizes squeeze stack
t take_along_dim tile to transpose tril triu type_as unbind unflatten unfold unsqueeze view view_as

all amax amin any argmax argmin cumprod cumsum logsumexp max mean median min prod sort std std_mean
sum topk var var_mean

_assert_tensor_metadata arange eye full full_like linspace new_full new_ones new_zeros ones
ones_like scalar_tensor sym_numel sym_size zeros zeros_like
"""
COMPUTING = frozenset(NAMES.split())


def operator_of(target: str) -> Callable[..., Any]:
    """Return the operator that a program calls by this name.

    Raises:
        BlockError: it is not listed, or this version of torch has none of this name.
    """
    if target in ON_SIZES:
        return ON_SIZES[target]
    named = ATEN.fullmatch(target)
    if not named or named[1] not in COMPUTING:
        raise BlockError(
            f"its program calls {target[:80]}, which is none of the operators that are run "
            "(ifl.blocks.operators); write the network without it"
        )
    packet = getattr(torch.ops.aten, named[1], None)
    if packet is None or named[2] not in packet.overloads():
        raise BlockError(
            f"its program calls {target[:80]}, which torch {torch.__version__} does not have; use "
            "the version that its card names"
        )
    if target in VIEWS:
        return reshaped
    found: Callable[..., Any] = getattr(packet, named[2])
    if found._schema.is_mutable:  # type: ignore[attr-defined]
        raise BlockError(f"its program calls {target[:80]}, which writes into what it is given")
    return found


def reshaped(self: Tensor, size: Sequence[int]) -> Tensor:
    """Return a view, or a copy where memory is laid out otherwise than at the sender's."""
    return self.reshape(*size)
