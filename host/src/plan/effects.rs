//! Groups of effects: of all runs of a process, one at a time has those of a group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The groups that any graph of the process has.
static GROUPS: Mutex<BTreeMap<String, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());

/// The groups of a program's effects, in an order that all programs share.
#[derive(Default)]
pub(crate) struct Effects(Vec<Arc<Mutex<()>>>);

impl Effects {
    /// Those of these names.
    pub(crate) fn of<'a>(groups: impl Iterator<Item = &'a str>) -> Self {
        let names: BTreeSet<&str> = groups.collect();
        let mut known = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        let group = |name: &str| Arc::clone(known.entry(name.to_owned()).or_default());
        Self(names.into_iter().map(group).collect())
    }

    /// Runs `body` while no other run has an effect of these groups.
    pub(crate) fn alone<R>(&self, body: impl FnOnce() -> R) -> R {
        alone(&self.0, body)
    }
}

fn alone<R>(groups: &[Arc<Mutex<()>>], body: impl FnOnce() -> R) -> R {
    let Some((first, rest)) = groups.split_first() else { return body() };
    // A run that panicked has left its group as any that failed.
    let _turn = first.lock().unwrap_or_else(PoisonError::into_inner);
    alone(rest, body)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn runs_of_a_group_take_turns_and_others_do_not_wait() {
        let (both, one) = (Effects::of(["t.b", "t.a", "t.b"].into_iter()), Effects::of(["t.b"].into_iter()));
        assert_eq!((both.0.len(), one.0.len()), (2, 1));
        let busy = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for effects in [&both, &one, &both, &one] {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        effects.alone(|| {
                            assert!(!busy.swap(true, Ordering::Relaxed));
                            std::hint::spin_loop();
                            busy.store(false, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        both.alone(|| Effects::of(["t.c"].into_iter()).alone(|| Effects::default().alone(|| ())));
    }
}
