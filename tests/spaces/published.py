"""Published genotypes as text, and what their evaluation networks weigh (methods.md, 11.1).

Facts from the genotype files of quark0/darts, xiaomi-automl/FairDARTS, D-X-Y/AutoDL-Projects,
cogsys-tuebingen/uninas (ASAP), wiljohnhong/DropNAS and cogsys-tuebingen/prdarts, whose rows of kind
and settings are written here as our names.
"""

from __future__ import annotations

DARTS_V1 = (
    "DARTS_V1 = Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('skip_connect', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], reduce_concat=[2, 3, 4, 5])"
)

DARTS_V2 = (
    "DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)

NASNET = (  # two genes on one edge; nodes of the output are chosen
    "Genotype(normal=[('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 0), "
    "('sep_conv_3x3', 0), ('avg_pool_3x3', 1), ('skip_connect', 0), ('avg_pool_3x3', 0), "
    "('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 1)], "
    "normal_concat=[2, 3, 4, 5, 6], reduce=[('sep_conv_5x5', 1), ('sep_conv_7x7', 0), "
    "('max_pool_3x3', 1), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1), ('sep_conv_5x5', 0), "
    "('skip_connect', 3), ('avg_pool_3x3', 2), ('sep_conv_3x3', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[4, 5, 6])"
)

AMOEBANET = (  # an output with a gap, and both 7x7 operations
    "Genotype(normal=[('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_5x5', 2), ('sep_conv_3x3', 0), ('avg_pool_3x3', 3), ('sep_conv_3x3', 1), "
    "('skip_connect', 1), ('skip_connect', 0), ('avg_pool_3x3', 1)], normal_concat=[4, 5, 6], "
    "reduce=[('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('max_pool_3x3', 0), ('sep_conv_7x7', 2), "
    "('sep_conv_7x7', 0), ('avg_pool_3x3', 1), ('max_pool_3x3', 0), ('max_pool_3x3', 1), "
    "('conv_7x1_1x7', 0), ('sep_conv_3x3', 5)], reduce_concat=[3, 4, 6])"
)

ENASNET = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 1), ('sep_conv_5x5', 1), "
    "('skip_connect', 0), ('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('avg_pool_3x3', 1), ('sep_conv_5x5', 1), ('avg_pool_3x3', 0)], "
    "normal_concat=[2, 3, 4, 5, 6], reduce=[('sep_conv_5x5', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('avg_pool_3x3', 1), ('sep_conv_3x3', 1), ('avg_pool_3x3', 1), "
    "('avg_pool_3x3', 1), ('sep_conv_5x5', 4), ('sep_conv_3x3', 5), ('sep_conv_5x5', 0)], "
    "reduce_concat=[2, 3, 4, 5, 6])"
)

GDAS_V1 = (
    "Genotype(normal=[('skip_connect', 0), ('skip_connect', 1), ('skip_connect', 0), "
    "('sep_conv_5x5', 2), ('sep_conv_3x3', 3), ('skip_connect', 0), ('sep_conv_5x5', 4), "
    "('sep_conv_3x3', 3)], normal_concat=range(2, 6), reduce=[('sep_conv_5x5', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_5x5', 2), ('sep_conv_5x5', 1), ('dil_conv_5x5', 2), "
    "('sep_conv_3x3', 1), ('sep_conv_5x5', 0), ('sep_conv_5x5', 1)], reduce_concat=range(2, 6))"
)

MDENAS = (
    "Genotype(normal=[('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), "
    "('sep_conv_5x5', 1), ('sep_conv_5x5', 3), ('sep_conv_3x3', 1), ('dil_conv_5x5', 3), "
    "('max_pool_3x3', 4)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), "
    "('sep_conv_5x5', 1), ('skip_connect', 0), ('skip_connect', 1), ('sep_conv_3x3', 3), "
    "('skip_connect', 2), ('dil_conv_3x3', 3), ('sep_conv_5x5', 0)], reduce_concat=range(2, 6))"
)

PC_DARTS = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 0), "
    "('dil_conv_3x3', 1), ('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('avg_pool_3x3', 0), "
    "('dil_conv_3x3', 1)], normal_concat=range(2, 6), reduce=[('sep_conv_5x5', 1), "
    "('max_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_5x5', 2), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('sep_conv_3x3', 2)], reduce_concat=range(2, 6))"
)

PC_DARTS_IMAGE = (
    "Genotype(normal=[('skip_connect', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 0), "
    "('skip_connect', 1), ('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3', 1), "
    "('dil_conv_5x5', 4)], normal_concat=range(2, 6), reduce=[('sep_conv_3x3', 0), "
    "('skip_connect', 1), ('dil_conv_5x5', 2), ('max_pool_3x3', 1), ('sep_conv_3x3', 2), "
    "('sep_conv_3x3', 1), ('sep_conv_5x5', 0), ('sep_conv_3x3', 3)], reduce_concat=range(2, 6))"
)

P_DARTS = (
    "Genotype(normal=[('skip_connect', 0), ('dil_conv_3x3', 1), ('skip_connect', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3', 0), "
    "('dil_conv_5x5', 4)], normal_concat=range(2, 6), reduce=[('avg_pool_3x3', 0), "
    "('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('dil_conv_5x5', 2), ('max_pool_3x3', 0), "
    "('dil_conv_3x3', 1), ('dil_conv_3x3', 1), ('dil_conv_5x5', 3)], reduce_concat=range(2, 6))"
)

SNAS = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), "
    "('dil_conv_3x3', 1), ('skip_connect', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('sep_conv_3x3', 1)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 1), ('skip_connect', 2), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('dil_conv_5x5', 2)], reduce_concat=range(2, 6))"
)

ASAP = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('skip_connect', 0), ('skip_connect', 2), ('skip_connect', 1), "
    "('skip_connect', 2)], normal_concat=[2, 3, 4, 5], reduce=[('avg_pool_3x3', 0), "
    "('sep_conv_3x3', 1), ('avg_pool_3x3', 0), ('dil_conv_5x5', 2), ('max_pool_3x3', 1), "
    "('skip_connect', 2), ('max_pool_3x3', 0), ('skip_connect', 2)], reduce_concat=[2, 3, 4, 5])"
)

DROPNAS = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('dil_conv_5x5', 4), "
    "('dil_conv_3x3', 1)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), "
    "('sep_conv_5x5', 1), ('dil_conv_5x5', 2), ('sep_conv_5x5', 1), ('dil_conv_5x5', 3), "
    "('dil_conv_5x5', 2), ('dil_conv_5x5', 3), ('dil_conv_5x5', 4)], reduce_concat=range(2, 6))"
)

PR_DARTS_DL1 = (
    "Genotype(normal=[('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), "
    "('skip_connect', 2), ('sep_conv_3x3', 1), ('skip_connect', 2), ('skip_connect', 0), "
    "('skip_connect', 2)], normal_concat=range(2, 6), reduce=[('sep_conv_3x3', 0), "
    "('skip_connect', 1), ('max_pool_3x3', 0), ('sep_conv_5x5', 2), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('max_pool_3x3', 1), ('sep_conv_3x3', 4)], reduce_concat=range(2, 6))"
)

PR_DARTS_DL2 = (  # single convolutions
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3_x1', 1), ('sep_conv_3x3_x1', 1), "
    "('sep_conv_7x7', 2), ('skip_connect', 0), ('sep_conv_5x5', 1), ('sep_conv_3x3', 1), "
    "('sep_conv_7x7', 4)], normal_concat=range(2, 6), reduce=[('sep_conv_3x3_x1', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), "
    "('sep_conv_3x3_x1', 3), ('sep_conv_3x3_x1', 0), ('skip_connect', 3)], reduce_concat=range(2, "
    "6))"
)

PR_DARTS_DR = (  # inner channels of twice and three times the width, and 1x1 kernels
    "Genotype(normal=[('sep_conv_3x3_x1', 0), ('sep_conv_3x3_w3', 1), ('sep_conv_7x7', 1), "
    "('sep_conv_5x5_w2', 2), ('skip_connect', 1), ('skip_connect', 3), ('skip_connect', 0), "
    "('skip_connect', 2)], normal_concat=range(2, 6), reduce=[('sep_conv_5x5_w2', 0), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 1), ('sep_conv_3x3', 2), ('max_pool_3x3', 0), "
    "('sep_conv_3x3_w3', 2), ('max_pool_3x3', 0), ('sep_conv_1x1', 3)], reduce_concat=range(2, "
    "6))"
)

PR_DARTS_UR = (  # up to four stacked convolutions
    "Genotype(normal=[('sep_conv_3x3_w2', 0), ('sep_conv_1x1_x1', 1), ('sep_conv_3x3_x4', 1), "
    "('sep_conv_5x5_x1', 2), ('sep_conv_1x1', 1), ('sep_conv_3x3_x3', 2), ('sep_conv_1x1', 3), "
    "('sep_conv_5x5_x3', 4)], normal_concat=range(2, 6), reduce=[('sep_conv_7x7', 0), "
    "('sep_conv_3x3_x1', 1), ('sep_conv_3x3_x3', 0), ('sep_conv_3x3', 2), ('skip_connect', 0), "
    "('skip_connect', 2), ('sep_conv_7x7_x3', 1), ('skip_connect', 2)], reduce_concat=range(2, "
    "6))"
)

# FairDARTS writes triples of operation, node and input.  In `a` and `c` the normal cell's node 3
# has no gene; the released network leaves it out of the output though the text says range(2, 6).
FAIR_DARTS_A = (
    "Genotype(normal=[('sep_conv_3x3', 2, 0), ('sep_conv_5x5', 2, 1), ('max_pool_3x3', 4, 0), "
    "('sep_conv_3x3', 5, 0)], normal_concat=[2, 4, 5], reduce=[('max_pool_3x3', 2, 0), "
    "('avg_pool_3x3', 2, 1), ('avg_pool_3x3', 3, 0), ('dil_conv_5x5', 3, 1), "
    "('avg_pool_3x3', 4, 0), ('sep_conv_5x5', 4, 1), ('skip_connect', 5, 0), "
    "('skip_connect', 5, 1)], reduce_concat=range(2, 6))"
)

FAIR_DARTS_B = (
    "Genotype(normal=[('sep_conv_3x3', 2, 0), ('sep_conv_3x3', 2, 1), ('sep_conv_3x3', 3, 1), "
    "('dil_conv_3x3', 4, 0), ('sep_conv_5x5', 4, 1), ('dil_conv_5x5', 5, 1)], "
    "normal_concat=range(2, 6), reduce=[('skip_connect', 2, 0), ('dil_conv_3x3', 2, 1), "
    "('skip_connect', 3, 0), ('dil_conv_3x3', 3, 1), ('max_pool_3x3', 4, 0), "
    "('sep_conv_3x3', 4, 1), ('skip_connect', 5, 2), ('max_pool_3x3', 5, 0)], "
    "reduce_concat=range(2, 6))"
)

FAIR_DARTS_C = (
    "Genotype(normal=[('max_pool_3x3', 2, 0), ('sep_conv_5x5', 2, 1), ('dil_conv_3x3', 4, 0), "
    "('dil_conv_5x5', 4, 2), ('skip_connect', 5, 3), ('sep_conv_3x3', 5, 0)], "
    "normal_concat=[2, 4, 5], reduce=[('dil_conv_3x3', 2, 1), ('dil_conv_5x5', 2, 0), "
    "('dil_conv_3x3', 3, 0), ('sep_conv_3x3', 3, 1), ('sep_conv_5x5', 4, 0), "
    "('sep_conv_5x5', 4, 3), ('sep_conv_5x5', 5, 0), ('skip_connect', 5, 1)], "
    "reduce_concat=range(2, 6))"
)

# Weights of the networks on CIFAR-10 (36 channels, 20 cells) without and with the auxiliary head,
# on CIFAR-100 without it, and on ImageNet (48 channels, 14 cells) without it.
GENOTYPES: dict[str, tuple[str, int, int | None, int | None, int | None]] = {
    "DARTS_V1": (DARTS_V1, 3_169_414, 3_645_840, 3_221_344, 4_510_432),
    "DARTS_V2": (DARTS_V2, 3_349_342, 3_825_768, 3_401_272, 4_718_752),
    "NASNet": (NASNET, 3_830_950, 4_288_944, 3_895_840, 5_564_320),
    "AmoebaNet": (AMOEBANET, 3_145_078, 3_603_072, 3_184_048, 4_627_360),
    "ENASNet": (ENASNET, 4_020_166, None, None, None),
    "GDAS_V1": (GDAS_V1, 3_368_782, 3_845_208, None, None),
    "MdeNAS": (MDENAS, 3_783_286, None, None, None),
    "PC-DARTS": (PC_DARTS, 3_634_678, 4_111_104, None, 5_270_560),
    "PC-DARTS on images": (PC_DARTS_IMAGE, 3_721_510, None, None, 5_342_464),
    "P-DARTS": (P_DARTS, 3_433_798, 3_910_224, 3_485_728, 4_944_352),
    "SNAS": (SNAS, 2_661_382, 3_137_808, None, None),
    "ASAP": (ASAP, 2_538_046, 3_014_472, None, None),
    "DropNAS": (DROPNAS, 3_839_230, 4_315_656, None, None),
    "PR-DARTS DL1": (PR_DARTS_DL1, 3_174_166, 3_650_592, None, 4_685_152),
    "PR-DARTS DL2": (PR_DARTS_DL2, 4_017_646, 4_494_072, None, 5_529_856),
    "PR-DARTS DR": (PR_DARTS_DR, 4_248_766, 4_725_192, None, None),
    "PR-DARTS UR": (PR_DARTS_UR, 5_369_158, 5_845_584, None, None),
    "FairDARTS a": (FAIR_DARTS_A, 2_360_782, 2_837_208, None, None),
    "FairDARTS b": (FAIR_DARTS_B, 3_407_878, 3_884_304, None, None),
    "FairDARTS c": (FAIR_DARTS_C, 2_598_814, 3_075_240, None, None),
}
