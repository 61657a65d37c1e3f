//! What is different of two dumps, and whether a minor version may be so different.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

/// A change of one type, field, method, variant or number.
pub(super) struct Difference {
    /// Whether a host and a library on either side of it fit each other, so that a minor version may have it.
    pub(super) minor_may: bool,
    text: String,
}

impl Difference {
    fn may(text: String) -> Self {
        Self { minor_may: true, text }
    }

    fn never(text: String) -> Self {
        Self { minor_may: false, text }
    }
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rule = if self.minor_may { "a minor may" } else { "never in 1.x" };
        write!(f, "{rule}: {}", self.text)
    }
}

/// All differences, by the name of the type.
pub(super) fn differences(old: &str, new: &str) -> Vec<Difference> {
    let (old, new) = (parse(old), parse(new));
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let of_name = |name| match (old.get(name), new.get(name)) {
        (Some(old), Some(new)) => Pair { name, old, new }.differences(),
        // What leads to it is new as well, or is a difference of its own.
        (None, Some(_)) => vec![Difference::may(format!("`{name}` is new"))],
        _ => vec![Difference::never(format!("`{name}` was removed"))],
    };
    names.into_iter().flat_map(of_name).collect()
}

/// A paragraph: `KIND NAME: FACTS`, and its members.
struct Type<'a> {
    kind: &'a str,
    facts: &'a str,
    members: Vec<Member<'a>>,
}

/// A line: `NAME: TYPE @ START..END, IF MISSING`, or without a place.
#[derive(Clone, Copy, PartialEq)]
struct Member<'a> {
    name: &'a str,
    of: &'a str,
    start: &'a str,
    end: &'a str,
    missing: &'a str,
}

fn parse(dump: &str) -> BTreeMap<&str, Type<'_>> {
    let mut types: Vec<(&str, Type<'_>)> = Vec::new();
    for line in dump.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix("  "), types.last_mut()) {
            (Some(member), Some((_, of_type))) => of_type.members.push(parse_member(member)),
            _ => types.push(parse_head(line)),
        }
    }
    types.into_iter().collect()
}

fn parse_head(line: &str) -> (&str, Type<'_>) {
    let (title, facts) = line.split_once(": ").unwrap_or((line, ""));
    let (kind, name) = title.split_once(' ').unwrap_or(("", title));
    (name, Type { kind, facts, members: Vec::new() })
}

fn parse_member(line: &str) -> Member<'_> {
    let (name, rest) = line.split_once(": ").unwrap_or((line, ""));
    let (of, place) = rest.split_once(" @ ").unwrap_or((rest, ""));
    let (bytes, missing) = place.split_once(", ").unwrap_or((place, ""));
    let (start, end) = bytes.split_once("..").unwrap_or(("", ""));
    Member { name, of, start, end, missing }
}

impl Type<'_> {
    fn find(&self, name: &str) -> Option<&Member<'_>> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The place of a member among those that `other` has as well.
    fn rank(&self, name: &str, other: &Self) -> Option<usize> {
        let mut common = self.members.iter().filter(|member| other.find(member.name).is_some());
        common.position(|member| member.name == name)
    }
}

/// A type of both dumps.
struct Pair<'a> {
    name: &'a str,
    old: &'a Type<'a>,
    new: &'a Type<'a>,
}

impl Pair<'_> {
    fn differences(&self) -> Vec<Difference> {
        let Self { name, old, new } = *self;
        if old.kind != new.kind {
            let text = format!("`{name}` was of kind {}, and is of kind {}", old.kind, new.kind);
            return vec![Difference::never(text)];
        }
        let mut found = Vec::new();
        if old.facts != new.facts {
            found.push(Difference::never(format!("`{name}` had {}, and has {}", old.facts, new.facts)));
        }
        let is_added = |member: &&Member<'_>| old.find(member.name).is_none();
        let mut added: Vec<&Member<'_>> = new.members.iter().filter(is_added).collect();
        for member in &old.members {
            found.extend(self.of_member(member, &mut added));
        }
        found.extend(added.into_iter().map(|member| self.of_addition(member)));
        found
    }

    /// The differences of one that there was. What it was renamed to is taken from `added`.
    fn of_member(&self, member: &Member<'_>, added: &mut Vec<&Member<'_>>) -> Vec<Difference> {
        let kind = self.old.kind;
        let texts = match self.new.find(member.name) {
            Some(now) => {
                let ranks = (self.old.rank(member.name, self.new), self.new.rank(member.name, self.old));
                // Numbers have no order.
                let ranks = ranks.0.zip(ranks.1).filter(|(old, new)| kind != "codes" && old != new);
                member.changes(now, ranks)
            }
            None => match added.iter().position(|other| member.is_renamed(other)) {
                Some(index) => vec![format!("was renamed to `{}`", added.remove(index).name)],
                None => vec!["was removed".to_owned()],
            },
        };
        let place = format!("the {} `{}` of `{}`", member.noun(kind), member.name, self.name);
        texts.into_iter().map(|text| Difference::never(format!("{place} {text}"))).collect()
    }

    fn of_addition(&self, member: &Member<'_>) -> Difference {
        let Self { name, old, new } = *self;
        let added = format!("the {} `{}` was added to `{name}`", member.noun(new.kind), member.name);
        let behind = new.members.iter().skip_while(|other| other.name != member.name);
        let is_last = behind.into_iter().all(|other| old.find(other.name).is_none());
        match new.kind {
            "codes" => Difference::may(added),
            "prefix" if !is_last => Difference::never(format!("{added} before others")),
            "prefix" if member.missing == "may be missing" => Difference::may(format!("{added} at its end")),
            "prefix" => Difference::never(format!(
                "{added} without a default that can be seen: behind `last_prefix_field`, a method needs a body, and a \
                 field `pub` and `missing_field(option)`"
            )),
            _ => Difference::never(format!("{added}, which is not a type that grows")),
        }
    }
}

impl Member<'_> {
    fn noun(&self, kind: &str) -> &'static str {
        let is_function = self.of.starts_with("fn(") || self.of.starts_with("unsafe fn(");
        match kind {
            "enum" => "variant",
            "codes" => "code",
            "prefix" if is_function => "method",
            _ => "field",
        }
    }

    fn is_renamed(&self, other: &Member<'_>) -> bool {
        *self == Member { name: self.name, ..*other }
    }

    /// How one that is still there has changed; `ranks` are its places among all that are, if they differ.
    fn changes(&self, now: &Member<'_>, ranks: Option<(usize, usize)>) -> Vec<String> {
        let mut changes = Vec::new();
        if self.of != now.of {
            changes.push(format!("was `{}`, and is `{}`", self.of, now.of));
        }
        if self.start != now.start {
            changes.push(format!("was moved from byte {} to byte {}", self.start, now.start));
        } else if let Some((old, new)) = ranks {
            changes.push(format!("was moved from place {old} to place {new}"));
        } else if self.of == now.of && self.end != now.end {
            changes.push(format!("ended at byte {}, and ends at byte {}", self.end, now.end));
        }
        if self.missing != now.missing {
            let [old, new] = [self, now]
                .map(|member| if member.missing.is_empty() { "must be there" } else { member.missing });
            changes.push(format!("{old}: now it {new}"));
        }
        changes
    }
}
