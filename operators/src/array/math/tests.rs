#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]
use super::*;
use crate::expr::simd::vectorized;
use std::hint::black_box;

type Function = fn(f64) -> f64;
type Function32 = fn(f32) -> f32;
type Ranges = &'static [(f64, f64, bool)];

/// Each with the standard library's, and what numbers to try: from, to, and whether evenly in their logarithm.
const FUNCTIONS: [(&str, Function, Function, Ranges); 10] = [
    ("exp", exp_f64, f64::exp, &[(-746.0, 710.0, false), (-2.0, 2.0, false), (1e-20, 1.0, true)]),
    ("exp2", exp2_f64, f64::exp2, &[(-1076.0, 1025.0, false), (-2.0, 2.0, false), (1e-20, 1.0, true)]),
    ("expm1", expm1_f64, f64::exp_m1, &[(-60.0, 710.0, false), (-2.0, 2.0, false), (1e-320, 1.0, true)]),
    ("tanh", tanh_f64, f64::tanh, &[(-25.0, 25.0, false), (-2.0, 2.0, false), (1e-320, 1.0, true)]),
    ("ln", ln_f64, f64::ln, &[(1e-323, 1e308, true), (0.5, 2.0, false), (0.999, 1.001, false)]),
    ("log2", log2_f64, f64::log2, &[(1e-323, 1e308, true), (0.5, 2.0, false), (0.999, 1.001, false)]),
    ("log10", log10_f64, f64::log10, &[(1e-323, 1e308, true), (0.5, 2.0, false), (0.999, 1.001, false)]),
    ("log1p", log1p_f64, f64::ln_1p, &[(1e-320, 1e308, true), (-1.0, 2.0, false), (-0.01, 0.01, false)]),
    ("sin", sin_f64, f64::sin, &[(-1e5, 1e5, false), (-4.0, 4.0, false), (1e-320, 1e308, true)]),
    ("cos", cos_f64, f64::cos, &[(-1e5, 1e5, false), (-4.0, 4.0, false), (1e-320, 1e308, true)]),
];

const FUNCTIONS_32: [(&str, Function32, Function, Ranges); 10] = [
    ("exp", exp_f32, f64::exp, &[(-105.0, 89.0, false), (-2.0, 2.0, false)]),
    ("exp2", exp2_f32, f64::exp2, &[(-151.0, 129.0, false), (-2.0, 2.0, false)]),
    ("expm1", expm1_f32, f64::exp_m1, &[(-20.0, 89.0, false), (1e-44, 1.0, true)]),
    ("tanh", tanh_f32, f64::tanh, &[(-10.0, 10.0, false), (1e-44, 1.0, true)]),
    ("ln", ln_f32, f64::ln, &[(1e-44, 1e38, true), (0.5, 2.0, false), (0.999, 1.001, false)]),
    ("log2", log2_f32, f64::log2, &[(1e-44, 1e38, true), (0.5, 2.0, false)]),
    ("log10", log10_f32, f64::log10, &[(1e-44, 1e38, true), (0.5, 2.0, false)]),
    ("log1p", log1p_f32, f64::ln_1p, &[(1e-44, 1e38, true), (-1.0, 2.0, false)]),
    ("sin", sin_f32, f64::sin, &[(-1e5, 1e5, false), (1e-44, 1e38, true)]),
    ("cos", cos_f32, f64::cos, &[(-1e5, 1e5, false), (1e-44, 1e38, true)]),
];

/// Numbers in [0, 1), always the same (xorshift64*, Vigna).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, (from, to, evenly_in_log): (f64, f64, bool)) -> f64 {
        let u = self.next();
        if evenly_in_log { (from.ln() + u * (to.ln() - from.ln())).exp() } else { from + u * (to - from) }
    }
}

/// Numbers of the format between two; 0 for two NaN.
fn distance(a: f64, b: f64) -> u64 {
    if a.is_nan() || b.is_nan() {
        return if a.is_nan() && b.is_nan() { 0 } else { u64::MAX };
    }
    let place = |x: f64| {
        let bits = x.to_bits() as i64;
        if bits < 0 { i64::MIN - bits } else { bits }
    };
    place(a).abs_diff(place(b))
}

fn distance_32(a: f32, b: f32) -> u64 {
    if a.is_nan() || b.is_nan() {
        return if a.is_nan() && b.is_nan() { 0 } else { u64::MAX };
    }
    let place = |x: f32| {
        let bits = x.to_bits() as i32;
        if bits < 0 { i32::MIN - bits } else { bits }
    };
    u64::from(place(a).abs_diff(place(b)))
}

fn function(name: &str) -> (Function, Function) {
    FUNCTIONS.iter().find(|each| each.0 == name).map(|each| (each.1, each.2)).unwrap()
}

/// x and the correctly rounded f(x): mpmath, 400 bits.
const FIXTURES: &str = "
exp bfbf91b507915c66 3fec49976d047b39 bfcf48ae96c7297e 3fe90fba64428eef 3fbb0c262de1b194 3ff1c87294dc5801
exp bfd327a4890038a0 3fe7b910b757027a 3f99b8606208b7a0 3ff0682f0ec27bf7 bfb8118c3c8ba914 3fed20e76a5428f7
exp bfd3cd38d08172c1 3fe77bffc26fc654 3f7551da19bf71c0 3ff0156014aa8e4d c08439595400e67e 0594279b3594a5c8
exp c0563f911bc65d10 37e86b266be8efc4 c082cc96f450e7e5 09b14c79c4f64953 c081e17ba039930e 0c56cd014b18ca9e
exp c059768ebeddb4e0 36c0a7e611d8f4bc 407d108de68372d0 69ddec3df37a352b c0806c8119680b1a 108b566b21ba6a56
exp c078174d000ae56e 1d2df13522a9e424 406701b589a9c53c 508726689e8a3cdd 4083da93404429e2 7937d8e90a49cc9b
exp 405c48d5e2f83908 4a22af08afa0e657 c061a27883a883c0 333623eeda89d894 40851c58f90d811a 7cd84e0efac31baf
exp c083d2eb86b2a8c0 06bbf319623a4f72 c0864cc0efe3b665 000016a55737cba1 c086f3c54d7b6ae8 0000000000005364
exp c0871e725b6ca826 0000000000000067 c087263758cfa5c1 0000000000000027 c086ee3ad001f045 000000000000a6b2
exp c086592f6fe2453f 000004c99de7f24e c08713bd1dba37c6 0000000000000189 c0869e0acd176fd2 00000000395af638
exp 3d229cb86959de16 3ff0000000000095 3bd194bb916bbdbf 3ff0000000000000 bc94c9f524ca3ddd 3fefffffffffffff
exp 3d60e63bfefc930c 3ff0000000000873 be010ecf9c4d618f 3fefffffffbbc4c2 bcc0bc55e58c2515 3feffffffffffffc
exp2 3fd2d71d0970298c 3ff39f28ee65b96c 3fc978a64c7a2ea0 3ff25dca4709cddc bfd060b907585c68 3feacc7e2cc77683
exp2 3fb30d6ea99ba408 3ff0d8d7fb4ad1f2 3f99cd1cbf5ff900 3ff0482a1d4adeee 3fd80240b2bf702e 3ff4c05c700953f6
exp2 3fcd5e76972e6cc0 3ff2c215d098f172 bfcb24daf641b434 3feba02c2e059801 408ebbd1b0f19f60 7d6646898f9ae012
exp2 c08855636dc99bfc 0f4410136193fdd3 c064ab6c272b4518 3598fc6a2078710c 40807cc4bb1f297c 60e82f7178ddf6fa
exp2 c0862abfb734654d 139937d6bd55b8c9 c0348f3652418e00 3ea5b6e0250a9a25 c08d5ee207e1a20e 0531a041b22dff58
exp2 40759d54d4cd5000 558c819f4afe3efb 4080f6434724b4f2 61db874753f4a950 4062e87b0f43a248 496339f9df6e4d42
exp2 40880bd02c80b6d8 7006439c0d1fa393 c077ab338b01946e 2843b2798e4ef3eb 407912f08d778778 59022c4d012b68aa
exp2 40685c8b7ffcd028 4c1db14a90e7a60b c090510fed6ee1e3 00000000353d81f5 c0906b48d302ad83 000000000090e599
exp2 c09019ed44c4050c 00000b7544300ffc c09003ba4481d8bb 000218bf3254caf9 c090677dbc2b0744 000000000117992c
exp2 c0903f3321aa470a 00000004985257ec c090bf23594c9fd1 0000000000000005 c0903748a0014ba0 000000121d533446
exp2 3f9646d5234b711f 3ff03e3b6c617b5b 3cdda110665f5051 3ff0000000000005 be48d5b35d2d4c03 3feffffffbb24b60
exp2 bd98daeb1ef55936 3fefffffffff762c bc348d32757f0083 3ff0000000000000 becd37753347bdb7 3feffffaefe908cd
expm1 bfea182dc4b3d0a4 bfe1d78915b3716e bfe1c4961fb2d0ed bfdb44b9f5f3fda9 bfceb5646c872f88 bfcb4d79a17cd118
expm1 3fea25ea56c4ee26 3ff4394ca0c201ab bfed86ee7a8935c6 bfe348341bd4708c bfbc9e1eb08634f0 bfbb1379e648e05c
expm1 3fbbd834e05c20c0 3fbd6a4fd449b642 3feafd7f26014466 3ff53093587e1da0 3fe67a305efd1444 3ff04c47bb34d3a0
expm1 3fe99fdfab3def42 3ff3a2ccacda27e7 bfdf32c4b6c47584 bfd8b156eae22cfe bfc7da3d7d46bf74 bfc5c30d44e511ec
expm1 bfd3e290aa6252b4 bfd117a7b7a9e9ee 3feb0c13a9bf754a 3ff541890f8a416a 3ff01cb519d0b7f0 3ffbcc642eeca064
expm1 bfe8933e39ab73be bfe1274df7838915 bfe6cb556777f47d bfe04dc9aeeff8ed bfe2dec7d3014b2c bfdc83215d764451
expm1 4060d89968b02413 4c158eeed609ee55 407433cb19aafa67 5d1425cc5347297b 4079140e5a85264e 641d93e7efd50c06
expm1 40639982cf04aa18 4e1283a99b33737f c0427789be0e36d3 bfefffffffffffff 40711ca7a586d138 589fedf0bc108f72
expm1 406d924506ceff7e 5543b1b9c464cd20 40780308816d47c0 62934580eeb56753 40850ef67813fe3e 7cb23ea5a0807785
expm1 407dd2e040b115a2 6af57aa287552e18 3de717fd3e49b57a 3de717fd3e520ac1 3be6141c9c0e9f0d 3be6141c9c0e9f0d
expm1 3ed61d205f8bb463 3ed61d243195e694 3ee6af0f4222ae34 3ee6af174c5de978 bd3710cc02f5c71e bd3710cc02f5c614
expm1 be432bfec9862450 be432bfec81694ef
tanh bfeed15848b8feaf bfe7dc40cd0ceaee bfee756f30228a75 bfe7b3199185948f bfe480c94f528e4a bfe217ad54daaff5
tanh bfe7c61b663b8db5 bfe430726b0db0a7 bfd6853bef06f698 bfd5a2813f091436 bfef7fa953e628c6 bfe8286f2020698e
tanh bff1977f731b2cca bfe99c2d5b6317ec bfe88d0afa7a4e32 bfe4a65db675d744 bfec0e918e0c9bb6 bfe68dbc50683a5c
tanh bfd334273065f208 bfd2a5bcef6e324d bff0b3ce70e3ff1e bfe8f107e3622599 3fea5a5e2aa1469a 3fe5a9e1388482e3
tanh 3fd00f98069f2398 3fcf76ce06d040bc bfe8bdf6b7379a24 bfe4c2ce22f93288 bfe170e8e9311f25 bfdfcb60f27e4e8a
tanh bfd57cd033ccc55a bfd4b7093ee915cb bfd320339fa7a9c6 bfd2937950afe7ce bfea8d49c62f54e5 bfe5c558c6b5521e
tanh 402bea3a6ee17448 3fefffffffffcb06 4033b95f32e39d0a 3ff0000000000000 bff5c44979918230 bfec0c367b82fe69
tanh bfe4b10f4e1a8780 bfe23868e0f33d03 c030908a83478795 bfefffffffffffb6 c02fd3329680d5b4 bfeffffffffffef0
tanh c0192da2d53166dc bfeffff1b3c72e1b c022d1c76336ba55 bfeffffff8cb2aae 402a4ef548ebaa50 3feffffffffef7e6
tanh c02b15bcbcd62f02 bfefffffffff8682 bf86e21a6a3c745d bf86e1dc023b04f5 3c1971bbf8c2bb3a 3c1971bbf8c2bb3a
tanh 3baa9f1e6d09b225 3baa9f1e6d09b225 3f61faf1c1010f2f 3f61faefdc9a5b50 3e807a12b20a4dd7 3e807a12b20a4dc0
tanh bd28f1eeaee79dae bd28f1eeaee79dae
ln 3fe8049cce22596c bfd25d166f47ad33 3ffa86c958ab1ad6 3fe02d8386add420 3ff4c83f689fec6e 3fd0bc90217d5d37
ln 3ffab28364821242 3fe0621810bf9fcb 3fefd2ec67d19325 bf7699bad950e7de 3feab4bc6fadeb26 bfc72603e46efddf
ln 3ffb79ecd35d7d9a 3fe14db162a84ca7 3fffa362ba466441 3fe5d11eaec7ec87 3ffc768d2495df45 3fe26ec0670e8d70
ln 3ffb588bfcb7d988 3fe126ba06b9abbb 3ffba3d66d33b9c0 3fe17e5c7089e2e3 3ff9c1c7a368f454 3fde78aeb08ab2df
ln 3feae22cc33312f2 bfc64cf36b8c9e3b 3ff46c5f507a74da 3fcf3e4ff6e7020c 3feffffffffffffa bcc8000000000002
ln 3fefffffffff7180 bd91d000000027a9 3feffffefbc0723e bea043f91e444b55 3ff000000028e19d 3e0470ce7fe5e2e0
ln 3ff0190697f2cb31 3f78f319f4a3ac42 3ff000000003704c 3dcb825ffffd0b3d 3fefffffffffee82 bd617e00000004c8
ln 3feffffffffff651 bd535e00000002ee 3ff000839c702372 3f20734a5c66e55c 3ff00000005009df 3e140277bfcdf3a8
ln 53924a113ded4402 406b3905ae815c4c 664c6bb714e0fa03 407a97947dedd8ad 0b04aaf8c44f620e c08256b7a56039fb
ln 548aa22530b747b7 406c91c28d41f001 745c708873f4101a 40822b75d28cba33 6415233b74f44b22 40790eae3a8f6820
ln 00019834c0093492 c086359e8a81444e 000001c72c5e9816 c086611c064af2d8 00000000378ad2db c0869e4c95c79e9f
ln 0000000000000516 c0870a25b6d0b25b
log2 3feff5f8aa853f6e bf5cf44c3b379ea1 3ffb38428fd6a7ad 3fe887d8874a35b7 3fff51dcc52a5c84 3fef02105b6e4d63
log2 3ff180081e63b511 3fc08cae3888036d 3ff1a21ee03ae516 3fc1f308350aa713 3ffeb91eed4137ce 3fee1ebf0d5e0b9f
log2 3ff96529ba7a005f 3fe553d24b0aa302 3fe8290145f56bab bfd9f2bea3e41832 3fe6190c262a50a6 bfe117e438932dd2
log2 3fe74156fd8b7cd9 bfdd791a14bb2129 3ffdb7694965644c 3fec9502f58df09e 3ffb5b25eef7b2f8 3fe8c2ded6830f42
log2 3fe704309dab606a bfde6d258e4475a6 3ffbd61493c9a0db 3fe9908823b9559d 3ff000005a56cda3 3ea04a9d6695f68c
log2 3feffffffdd20151 be3928219e9c430c 3feffffffffffff6 bcdcda993e7663c2 3ff00000468f6d9d 3e997300f2edccee
log2 3ff0004c70cf7506 3f1b91b2fd175c5c 3fefffc447e1eedb bf058a19effcc341 3ff000000000065c 3d62596a40ec12fb
log2 3fefffffffff8f9f bd94441c98a0e12e 3feffffff44990f8 be60e5d353ee55c5 3fefffffffed7aa6 bdeab8530b0341a7
log2 10eee77adef46aea c0878066f2f87487 7463f916629fb1a8 408a3a8f51242911 2d5ec70a9eb0d046 c07290e62d575648
log2 3ab22ea44c016ad3 c054f431e60d372b 4aaeb97c1ab7020c 40657e1f4b100b00 73a8d254e6286bf9 4089dd11756218f3
log2 00069dfb6bae4b5b c08ffa30bc855e15 000001c19f7abbf1 c09024bfed259268 0000000010bcd806 c09057bd6995d11f
log2 0000000000000136 c090a6e53fa4d6e1
log10 3ff4906ca98819a0 3fbbe6d4b7f13dbf 3fe0e5d86d3ca120 bfd1bf97f8b46ca0 3ff29020a1545b52 3fb084ea6c225c9f
log10 3fe8ca079ba6bd6b bfbc63254713cc58 3fe0305284a7fef0 bfd2f09f4c409dba 3ffb2e1a6e730c5e 3fcd74ee15412c67
log10 3fe845cbe0d96f40 bfbeba7a4d34030e 3ff35d23fcdb7841 3fb5370d7ba821a8 3ff96796635c6b24 3fc9b39612bc63ee
log10 3ff55afc7a2f6d95 3fc00cb70e127858 3fefa5ab2e180f9b bf73b961a936e1c1 3ff470bc0797990c 3fbb3afb83c58c2c
log10 3ff554a287728cce 3fbff8584453f7f2 3ffad291f154582a 3fccb87b1a5b558d 3feffffff7de8dcc be3c3faf3cb96c19
log10 3fefffffffffb98e bd6e98111260597c 3ff00000009510c9 3e102f412d7934d6 3ff00000fb58ae73 3e9b4a21ba7d619f
log10 3ff000000020ca69 3dec7b4ac1ab1889 3ff000000039c04c 3df914bd118afe25 3ff00000069cc632 3e46f94cc51862ff
log10 3fefffffff8fcf84 bdf85c92edf3e7f6 3fefff6016a7a4f4 bf015ce29f33a17f 3ff00067bbcdd9f7 3f06863c001a5d18
log10 788054f4eff08f14 4071070e96d33498 2156cebbf5162e8e c0626b39413df36b 47a2fc4837cbaa70 40428ced45e0b560
log10 78a30453e075459c 407111bf63ad2f12 6b735e7e594e7211 406a33321bd4eb60 11b42312ad36af90 c06bd531bdbf12a7
log10 0003238f1f229dd0 c07345c28cf55e66 000000a1c81c4ba9 c073776de13e1912 0000000055e86129 c073a25c025cdcb7
log10 000000000000036d c07405cfbb516914
log1p bfe8f3641af2d5b3 bff8347c99a892d0 3ff023d3db364a88 3fe65202daa753af 3ff5a1e409f7c550 3feb5e6c5e28cc06
log1p 3ffb0f15246b04c6 3fefadebcd705af6 bfe125649bb6b530 bfe88f1fbab711af 3ff260d809597648 3fe8798adea43af7
log1p 3fef653f4ec9ea85 3fe5e0848218614b bfe23f209f50d2ec bfeb05ba5f227bce 3ffa60bad2a52f4e 3fef2b4fe1c7fb2f
log1p 3ffe7152beeffea8 3ff10cd1f09a4b51 bfd5ca085ce4c334 bfdaa321946f9b71 3ffdb890b623fc06 3ff0ccab52661737
log1p 3fc901f633ffa584 3fc6d7b409377da6 3fdd963e0975312a 3fd85209909cdc80 3fff8394f8de1f1a 3ff16a3b5ad531e6
log1p 3ff7f5c433224264 3fed4a100d81c9fb bfe078f0db0afe4b bfe723c9473902a6 3fd2e3796ea864ea 3fd08d2234b02e43
log1p 3ccf33266da8734f 3ccf33266da8734b bcfee3c3bef67fbc bcfee3c3bef67fda 3bc89a4c6761804f 3bc89a4c6761804f
log1p 3d51c7778457dfba 3d51c7778457dd42 bd15935a60a2b501 bd15935a60a2b53b 3dad78d42537303c 3dad78d425365716
log1p 09a7a40a0ae5bb3a 09a7a40a0ae5bb3a 7c5cc7ad7b2c4746 4084f15690a6042c 63daf604a3cbd0c0 4078e63669eacff4
log1p 7ab1ed39398e4c85 40845d605b95a8be 0eb335994b831875 0eb335994b831875 22ba97165dd36218 22ba97165dd36218
log1p bfefffffffffffe3 c040af4bee6a5818 bfefffe3e8380457 c02670ef16271c2f bfefffffffff8c9d c03a717e540a1eb1
log1p bfeffffffffffe4d c03ea95515ab072c
sin bfe3e72664d02d38 bfe2a4f14024a3ec 400a549a9d6864dc bfc317a5cf4b8b9b 40046a26cf916944 3fe1cc14cb114bbc
sin bffee5e659813cdc bfedf1e8d8139538 c00670c16bb50ba6 bfd52251743c0fbf 400ad3b4bc1e4658 bfcae7d47d5fd244
sin 3fe212824fd3dca0 3fe120762a134dc1 3ff9a747653b9734 3feffba997132312 c00a46404dc47afc 3fc234743ddf9fd9
sin c00c517c519a71d8 3fd8d0fc1d59da4b 40e26123a818f338 bfefc33838545aa8 c0cd2c4bc170ef58 bfefce19aef345cb
sin c0f4e0d2e59a4ea2 bfbcc1afbd27bfde 40f5675f11a54cb0 3fe38c9f7ed743c0 40da41f9ae3b8978 3feac1e7d9b44e92
sin 40ed74b6fc6e3984 3fe82bc8c5b2293f c0f45337ea823909 3fe4df5816198205 40f164dba2ea8332 3fe458acad7901e1
sin bf2c101236449bca bf2c101232abc69e bce724434658b440 bce724434658b440 3f3c1eeb13757800 3f3c1eeb04fb4107
sin bc386ec51642470e bc386ec51642470e 3c750b0f1b37526e 3c750b0f1b37526e bc650a827e929bdf bc650a827e929bdf
sin 4423f5cec2c4ee07 bfecac1fedc23dcd 4da9f626ee5ceb80 3fe6983216e75106 5498ffb3f3121502 bfefc84ae1a86494
sin 542870257d2153cb bfe52c8746093e63 3ff921fb54442d18 3ff0000000000000 400921fb54442d18 3ca1a62633145c07
sin 4012d97c7f3321d2 bff0000000000000 4031475cc9eedf01 bff0000000000000 4080e2d4dc9dce4c bd23dba1aa51add5
sin 40f921e23248d8d4 bff0000000000000 40916d0fc2ed4544 3d353cb37c6a9dcf 40816d0fc2ed4544 bff0000000000000
cos 40009b9e91a59ffa bfdef96bd5bf1553 bffae29038de7774 bfbbfaf78e143903 3f4739d6093f4000 3fefffff79239eb4
cos c0049d49cdd5f860 bfeb07c87e284f3a bff395787324218c 3fd5c0d4059857d9 c00ed66a680b441e bfe833e764be4049
cos bffff14b8f68a7cc bfda6c9f2408ba4a c00f0491b7da3f56 bfe7b991b995d24c 3ffdd593f81728a0 bfd2896656e32d20
cos 3fda231c7e9865d0 3fed5e4aa0537be5 c0ee53966c250414 3feaa8f8320c122c c0b3b7df4ed20320 bfe923cdb3bed7ee
cos 40f5390916598638 3fe87da3eb4cd779 c0f3397bb2275fe0 bfeeac94d3c73271 40ef2500e5ef94c8 bfeed1e50a032d71
cos c0ca7e3dcdcda1d0 3fe3885e893ccc50 c08f3d7b8302c000 3fe94d6a3fc8636a 40f056ac962f2262 3feac47c1f7257b3
cos bda3ebf6e3997af3 3ff0000000000000 3f91d5a216ff773c 3feffec1f040bacb bef577ca4cfbebf7 3fefffffffe3320c
cos 3e35866ebf6fcbfd 3ff0000000000000 bd01398d6839c7f2 3ff0000000000000 bc481140eb236bd4 3ff0000000000000
cos 456bc443282e6ac2 bfefd7b2a6875079 6f945b1c58be79cf bfd82d39fa79d9bf 510d5e3bb378435a 3fe4f04a3bd59222
cos 4b3e5e363d0b6a97 3fe33896cae40fc8 3ff921fb54442d18 3c91a62633145c07 400921fb54442d18 bff0000000000000
cos 4012d97c7f3321d2 bcaa79394c9e8a0a 4031475cc9eedf01 3cd3ddc5bce200bb 4080e2d4dc9dce4c 3ff0000000000000
cos 40f921e23248d8d4 bd79805233b8a3ca 40916d0fc2ed4544 bff0000000000000 40816d0fc2ed4544 bd253cb37c6a9dcf
";

#[test]
fn results_are_the_nearest_number_or_its_neighbour() {
    for line in FIXTURES.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        let numbers = words.map(|word| f64::from_bits(u64::from_str_radix(word, 16).unwrap())).collect::<Vec<_>>();
        for pair in numbers.chunks(2) {
            let result = function(name).0(pair[0]);
            assert!(distance(result, pair[1]) <= 1, "{name}({:e}) = {result:e}, not {:e}", pair[0], pair[1]);
        }
    }
}

#[test]
fn results_are_near_the_standard_librarys() {
    let mut random = Random(0x5eed_0001);
    for (name, ours, theirs, ranges) in FUNCTIONS {
        for &range in ranges {
            for _ in 0..40_000 {
                let x = random.between(range);
                let (a, b) = (ours(x), theirs(x));
                assert!(distance(a, b) <= 2, "{name}({x:e}) = {a:e}, not {b:e}");
            }
        }
    }
}

#[test]
fn any_bits_are_numbers_too() {
    let mut random = Random(0x5eed_0002);
    for _ in 0..100_000 {
        random.next();
        let x = f64::from_bits(random.0);
        for (name, ours, theirs, _) in FUNCTIONS {
            let (a, b) = (ours(x), theirs(x));
            assert!(distance(a, b) <= 2, "{name}({x:e}) = {a:e}, not {b:e}");
        }
        let x = f32::from_bits((random.0 >> 32) as u32);
        for (name, ours, theirs, _) in FUNCTIONS_32 {
            let (a, b) = (ours(x), theirs(f64::from(x)) as f32);
            assert!(distance_32(a, b) <= 2, "{name}({x:e}) = {a:e}, not {b:e}");
        }
    }
}

#[test]
fn short_floats_are_near_too() {
    let mut random = Random(0x5eed_0003);
    for (name, ours, theirs, ranges) in FUNCTIONS_32 {
        for &range in ranges {
            for _ in 0..40_000 {
                let x = random.between(range) as f32;
                let (a, b) = (ours(x), theirs(f64::from(x)) as f32);
                assert!(distance_32(a, b) <= 1, "{name}({x:e}) = {a:e}, not {b:e}");
            }
        }
    }
}

#[test]
fn ends_and_edges() {
    let ends = [0.0, -0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, f64::MIN];
    let edges = [f64::MIN_POSITIVE, f64::from_bits(1), 2.2e-308, 709.782712893384, 709.7827128933841, 1024.0];
    let below = [-708.4, -745.1332191019411, -745.1332191019412, -746.0, -1022.0, -1074.0, -1075.0, -1074.99, -1e9];
    for x in ends.into_iter().chain(edges).chain(below) {
        for (name, ours, theirs, _) in FUNCTIONS {
            for x in [x, x.next_up(), x.next_down()] {
                let (a, b) = (ours(x), theirs(x));
                let near = if a.is_finite() && a != 0.0 { distance(a, b) <= 1 } else { distance(a, b) == 0 };
                assert!(
                    near && (a.is_nan() || a.is_sign_negative() == b.is_sign_negative()),
                    "{name}({x:e}) = {a:e}, not {b:e}"
                );
            }
        }
        let x = x as f32;
        for (name, ours, theirs, _) in FUNCTIONS_32 {
            for x in [x, x.next_up(), x.next_down()] {
                let (a, b) = (ours(x), theirs(f64::from(x)) as f32);
                let near = if a.is_finite() && a != 0.0 { distance_32(a, b) <= 1 } else { distance_32(a, b) == 0 };
                assert!(
                    near && (a.is_nan() || a.is_sign_negative() == b.is_sign_negative()),
                    "{name}({x:e}) = {a:e}, not {b:e}"
                );
            }
        }
    }
}

#[test]
fn whole_powers_are_exact() {
    for n in -1074..1024 {
        let power = exp2_f64(f64::from(n));
        assert_eq!(log2_f64(power), f64::from(n));
        assert_eq!(power, 2_f64.powi(n / 2) * 2_f64.powi(n - n / 2));
    }
    for n in 0..23 {
        assert_eq!(log10_f64(10_f64.powi(n)), f64::from(n));
    }
    assert_eq!(exp_f64(0.0), 1.0);
}

/// The hardest arguments: the doubles beside the multiples of π/2, near and far.
#[test]
fn multiples_of_a_quarter_turn() {
    for n in 1..70_000 {
        let x = f64::from(n) * std::f64::consts::FRAC_PI_2;
        for x in [x.next_down(), x, x.next_up()] {
            assert!(distance(sin_f64(x), x.sin()) <= 2, "sin({x:e})");
            assert!(distance(cos_f64(x), x.cos()) <= 2, "cos({x:e})");
        }
    }
    // The worst of all doubles (Kahan; Muller, "Elementary functions"); the cosine by mpmath. Not every libm is right here.
    let x = 6_381_956_970_095_103.0 * 2_f64.powi(797);
    assert_eq!(cos_f64(x), -4.687_165_924_254_628e-19);
    assert_eq!(sin_f64(-x), -1.0);
}

#[test]
fn turns() {
    let mut random = Random(0x5eed_0004);
    for _ in 0..100_000 {
        let u = random.next();
        let (sin, cos) = turn_f64(u);
        assert!((sin - (TAU * u).sin()).abs() < 1e-15 && (cos - (TAU * u).cos()).abs() < 1e-15);
        let short = u as f32;
        let (sin, cos) = turn_f32(short);
        let angle = TAU * f64::from(short);
        assert!((f64::from(sin) - angle.sin()).abs() < 1.2e-7 && (f64::from(cos) - angle.cos()).abs() < 1.2e-7);
    }
    assert_eq!(turn_f64(0.25), (1.0, 0.0));
    assert_eq!(turn_f64(0.5), (0.0, -1.0));
}

/// Whole registers, the rest of a slice and a single call: the same bits.
#[test]
#[allow(clippy::redundant_closure, reason = "a closure is compiled into the loop")]
fn bits_do_not_depend_on_the_place() {
    fn check(name: &str, function: impl Fn(f64) -> f64 + Copy) {
        let mut random = Random(0x5eed_0005);
        let x = (0..1003).map(|_| random.between((1e-320, 1e300, true))).collect::<Vec<_>>();
        let mut out = vec![0.0; x.len()];
        for start in [0, 1, 2, 3, 1000] {
            vectorized(
                #[inline(always)]
                || {
                    for (out, &x) in out[start..].iter_mut().zip(&x[start..]) {
                        *out = function(x);
                    }
                },
            );
            for (&out, &x) in out[start..].iter().zip(&x[start..]) {
                assert_eq!(out.to_bits(), function(black_box(x)).to_bits(), "{name}({x:e})");
            }
        }
    }
    check("exp", |x| exp_f64(x));
    check("exp2", |x| exp2_f64(x));
    check("expm1", |x| expm1_f64(x));
    check("tanh", |x| tanh_f64(x));
    check("ln", |x| ln_f64(x));
    check("log2", |x| log2_f64(x));
    check("log10", |x| log10_f64(x));
    check("log1p", |x| log1p_f64(x));
    check("exp of f32", |x| f64::from(exp_f32(x as f32)));
    check("ln of f32", |x| f64::from(ln_f32(x as f32)));
}

#[test]
fn blocks_mix_near_and_far() {
    let mut random = Random(0x5eed_0006);
    let x = (0..1003).map(|row| if row % 97 == 5 { 1e6 } else { 1e5 } * (random.next() - 0.5)).collect::<Vec<_>>();
    let mut x = [x, vec![f64::NAN, f64::INFINITY, 1e300]].concat();
    x[300] = f64::NEG_INFINITY;
    let short = x.iter().map(|&x| x as f32).collect::<Vec<_>>();
    let (mut sin, mut cos) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let (mut short_sin, mut short_cos) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    vectorized(
        #[inline(always)]
        || {
            sin_block_f64(&mut sin, &x);
            cos_block_f64(&mut cos, &x);
            sin_block_f32(&mut short_sin, &short);
            cos_block_f32(&mut short_cos, &short);
        },
    );
    for row in 0..x.len() {
        assert_eq!(distance(sin[row], sin_f64(x[row])), 0);
        assert_eq!(distance(cos[row], cos_f64(x[row])), 0);
        assert_eq!(distance_32(short_sin[row], sin_f32(short[row])), 0);
        assert_eq!(distance_32(short_cos[row], cos_f32(short[row])), 0);
    }
}
