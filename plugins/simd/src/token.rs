//! Values that prove what the machine has.

use crate::isa::Isa;
use crate::sets::with_instruction_sets;

/// Code that runs with a token, and is compiled with its features. Implementations are `#[inline(always)]`, as is all they call with
/// the token.
pub trait Run<T> {
    /// What it answers.
    type Output;
    /// Runs it.
    fn run(self, token: T) -> Self::Output;
}

/// An instruction set as a type. A value of it is proof that the machine has the instructions.
pub trait Token: Copy + Send + Sync + 'static {
    /// Its place in the list.
    const ISA: Isa;

    /// A token, where the machine has the instruction set.
    fn detect() -> Option<Self>;

    /// Runs `code` compiled with the instructions.
    fn vectorize<R: Run<Self>>(self, code: R) -> R::Output;
}

/// Writes the types of tokens, on machines of other architectures, too, where there are no values of them.
macro_rules! tokens {
    ($($set:ident = $name:literal: $what:literal $(, on $base:ident, $arch:tt [$($feature:tt)+])?;)+) => {
        $(token!($set $(, $name, $arch [$($feature)+])?);)+
    };
}

/// Writes the type of an instruction set's tokens; that of the first is [`Scalar`](crate::Scalar).
macro_rules! token {
    ($set:ident) => {};
    ($set:ident, $name:literal, $arch:tt [$($feature:tt)+]) => {
        #[doc = concat!("The machine has `", $name, "`.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $set(());

        impl Token for $set {
            const ISA: Isa = Isa::$set;

            fn detect() -> Option<Self> {
                Self::ISA.is_available().then_some(Self(()))
            }

            #[inline]
            fn vectorize<R: Run<Self>>(self, code: R) -> R::Output {
                #[cfg_attr(target_arch = $arch, target_feature($(enable = $feature),+))]
                fn vectorized<R: Run<$set>>(token: $set, code: R) -> R::Output {
                    code.run(token)
                }
                // SAFETY: `self` exists where the machine has the features.
                #[allow(unused_unsafe, reason = "on another architecture there are no features, and no `self`")]
                unsafe {
                    vectorized(self, code)
                }
            }
        }
    };
}

with_instruction_sets!(tokens);

/// Methods of a token whose bodies are instructions of its set: `NAME(ARGUMENTS) -> RESULT { EXPRESSION }` each, with `unsafe` before
/// the first, above which stands why the bodies are sound.
///
/// That the machine has the instructions is proven by `self`. So what is to be shown is that memory is read and written within what
/// references reach. Closures are not compiled with the instructions, and have no place in the bodies.
///
/// Functions of types that exist where a token does, registers for instance, are written whole, from `fn` on.
#[macro_export]
macro_rules! instructions {
    (unsafe $($(#[$doc:meta])* fn $name:ident $(<const $n:ident: $kind:ty>)? ($($args:tt)*) $(-> $result:ty)? { $($body:tt)* })*) => {
        $($(#[$doc])*
        #[inline(always)]
        fn $name $(<const $n: $kind>)? ($($args)*) $(-> $result)? {
            // SAFETY: the machine has the instructions, as is said where this is used, and that memory is within bounds.
            unsafe { $($body)* }
        })*
    };
    (unsafe $($name:ident $(<const $n:ident: $kind:ty>)? ($($arg:ident: $type:ty),* $(,)?) -> $result:ty { $body:expr })*) => {
        $(#[inline(always)]
        fn $name $(<const $n: $kind>)? (self $(, $arg: $type)*) -> $result {
            // SAFETY: `self` exists where the machine has the instructions; that memory is within bounds is said where this is used.
            unsafe { $body }
        })*
    };
}
