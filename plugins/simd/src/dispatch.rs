//! The choice of a token when a program runs.

/// Modules with what there is for instruction sets, and an enum of the sets' tokens, one of which is chosen when a program runs, with
/// `of`, `own`, `available`, `isa` and `run`.
///
/// `BODY` is a trait with an `Output` whose values run with each of the tokens once `WRAP` has made them a [`Run`](crate::Run):
///
/// ```text
/// dispatch! {
///     /// Documentation.
///     pub enum NAME runs BODY by WRAP {
///         avx2 on "x86_64": Avx2, AvxVnni;
///         neon on "aarch64": Neon;
///     }
/// }
/// ```
///
/// A row is a file beside the one with the macro, which is compiled for its architecture alone, and the sets that it has code for, by
/// their names in [`Isa`](crate::Isa). Plain Rust is always there. One more token may follow after `+`, which is never chosen by an `Isa`.
#[macro_export]
macro_rules! dispatch {
    (
        $(#[$doc:meta])*
        $vis:vis enum $name:ident runs $body:ident by $wrap:path {
            $($file:ident on $arch:literal: $($set:ident),+;)*
            $(+ $(#[$also_cfg:meta])* $also:ident($also_token:ty);)?
        }
    ) => {
        $(
            #[cfg(target_arch = $arch)]
            mod $file;
        )*

        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        $vis enum $name {
            /// For `Isa::Scalar`.
            Scalar($crate::Scalar<false>),
            $($(
                #[cfg(target_arch = $arch)]
                #[doc = concat!("For `Isa::", stringify!($set), "`.")]
                $set($crate::$set),
            )+)*
            $(
                $(#[$also_cfg])*
                #[doc = "Chosen by name alone."]
                $also($also_token),
            )?
        }

        #[allow(dead_code, reason = "not every choice is looked at in every way")]
        impl $name {
            /// The one for an instruction set that the machine has, or for the nearest that it includes.
            #[must_use]
            $vis fn of(isa: $crate::Isa) -> Self {
                let own = isa.descend().find_map(Self::own);
                own.unwrap_or(Self::Scalar($crate::Scalar))
            }

            /// The one for this instruction set alone, where there is one and the machine has it.
            #[must_use]
            $vis fn own(isa: $crate::Isa) -> Option<Self> {
                match isa {
                    $crate::Isa::Scalar => Some(Self::Scalar($crate::Scalar)),
                    $($(
                        #[cfg(target_arch = $arch)]
                        $crate::Isa::$set => <$crate::$set as $crate::Token>::detect().map(Self::$set),
                    )+)*
                    _ => None,
                }
            }

            /// Those that this machine has, the slowest first.
            $vis fn available() -> impl Iterator<Item = Self> {
                $crate::Isa::available().filter_map(Self::own)
            }

            /// The instruction set that it is for.
            #[must_use]
            $vis fn isa(self) -> $crate::Isa {
                match self {
                    Self::Scalar(_) => $crate::Isa::Scalar,
                    $($(
                        #[cfg(target_arch = $arch)]
                        Self::$set(_) => $crate::Isa::$set,
                    )+)*
                    $($(#[$also_cfg])* Self::$also(_) => <$also_token as $crate::Token>::ISA,)?
                }
            }

            /// Runs `body` compiled for it.
            $vis fn run<B: $body>(self, body: B) -> B::Output {
                match self {
                    Self::Scalar(token) => $crate::Token::vectorize(token, $wrap(body)),
                    $($(
                        #[cfg(target_arch = $arch)]
                        Self::$set(token) => $crate::Token::vectorize(token, $wrap(body)),
                    )+)*
                    $($(#[$also_cfg])* Self::$also(token) => $crate::Token::vectorize(token, $wrap(body)),)?
                }
            }
        }
    };
}
