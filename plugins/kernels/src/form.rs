//! The forms of strips: what the products of an encoding have in common with those of others.

/// Values of a row in a strip, and in a block of activations.
pub const STRIP_LEN: usize = 32;

/// The most strips of a block.
pub const MAX_STRIPS: usize = 8;

/// Registers of codes in a strip: four codes of each row in each.
pub const STRIP_CODES: usize = STRIP_LEN / 4;

/// What the products of a block need to know of its encoding; encodings of one form share compiled code.
pub trait Form: 'static {
    /// Strips of a block of activations: those of an encoded block.
    const STRIPS: usize;
    /// Scales of a strip: one, or one for each half; none where they are integers, or where the block has but one: the header has one
    /// for all.
    const SCALES: usize;
    /// Minima of a strip: none, one, or one for each half. A block of one strip has them in the strip, others in the header.
    const MINS: usize;
    /// Bits of the largest code.
    const BITS: u32;
    /// Sums of activations that the products of a block take: one for each minimum, or else one for each scale.
    const SUMS: usize = match (Self::MINS, Self::SCALES) {
        (0, scales) => Self::STRIPS * scales,
        (mins, _) => Self::STRIPS * mins,
    };
    /// Whether the sums of products take the integer scales of the halves of a strip: the codes have not.
    const INTEGER_SCALES: bool = false;
    /// Bits by which the codes of the upper half of a strip are shifted left.
    const UPPER_SHIFT: u32 = 0;
    /// The form of strips whose codes have taken integer scales.
    type Scaled: Form;
    /// Whether the header has minima, two in a lane.
    const PAIRS: bool = Self::MINS > 0 && Self::STRIPS > 1;
}

/// Blocks of one strip.
pub struct StripForm<const SCALES: usize, const MINS: usize, const BITS: u32>;

impl<const SCALES: usize, const MINS: usize, const BITS: u32> Form for StripForm<SCALES, MINS, BITS> {
    const STRIPS: usize = 1;
    const SCALES: usize = SCALES;
    const MINS: usize = MINS;
    const BITS: u32 = BITS;
    type Scaled = Self;
}

/// Blocks of [`MAX_STRIPS`] strips.
pub struct BlockForm<const SCALES: usize, const MINS: usize, const BITS: u32>;

impl<const SCALES: usize, const MINS: usize, const BITS: u32> Form for BlockForm<SCALES, MINS, BITS> {
    const STRIPS: usize = MAX_STRIPS;
    const SCALES: usize = SCALES;
    const MINS: usize = MINS;
    const BITS: u32 = BITS;
    type Scaled = Self;
}

/// Blocks of [`MAX_STRIPS`] strips whose codes have one scale, that of the header: the products of a block are summed as integers.
pub struct WholeForm<const BITS: u32>;

impl<const BITS: u32> Form for WholeForm<BITS> {
    const STRIPS: usize = MAX_STRIPS;
    const SCALES: usize = 0;
    const MINS: usize = 0;
    const BITS: u32 = BITS;
    const SUMS: usize = 1;
    type Scaled = Self;
}

/// Sums of activations for blocks whose strips have two integer scales: those of each half, and, where these stand for offsets, of
/// codes that have not taken their scales, that of the block, for codes that have.
const fn integer_sums(mins: usize) -> usize {
    2 * MAX_STRIPS + if mins == 0 { 1 } else { 0 }
}

/// Blocks of [`MAX_STRIPS`] strips whose halves have integer scales. `SHIFT` is the form's [`UPPER_SHIFT`](Form::UPPER_SHIFT), `BITS`
/// are those of shifted codes, and `SCALED` those of codes that have taken their scales.
///
/// The sum over a block of codes times scale times activation is an integer below 2^24, the same whether a code or a sum is
/// multiplied with the scale.
pub struct IntegerForm<const MINS: usize, const SHIFT: u32, const BITS: u32, const SCALED: u32>;

impl<const MINS: usize, const SHIFT: u32, const BITS: u32, const SCALED: u32> Form
    for IntegerForm<MINS, SHIFT, BITS, SCALED>
{
    const STRIPS: usize = MAX_STRIPS;
    const SCALES: usize = 0;
    const MINS: usize = MINS;
    const BITS: u32 = BITS;
    const SUMS: usize = integer_sums(MINS);
    const INTEGER_SCALES: bool = true;
    const UPPER_SHIFT: u32 = SHIFT;
    type Scaled = ScaledForm<MINS, SCALED>;
}

/// Blocks of an [`IntegerForm`] whose codes have taken their scales.
pub struct ScaledForm<const MINS: usize, const BITS: u32>;

impl<const MINS: usize, const BITS: u32> Form for ScaledForm<MINS, BITS> {
    const STRIPS: usize = MAX_STRIPS;
    const SCALES: usize = 0;
    const MINS: usize = MINS;
    const BITS: u32 = BITS;
    const SUMS: usize = integer_sums(MINS);
    type Scaled = Self;
}
