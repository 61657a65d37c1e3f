//! A kernel that C describes, for an op of this plugin or another.

use std::ptr::null_mut;
use std::sync::Arc;

use bitquilt_plugin_api::{
    Error, KernelKey, KernelProvider, NodeView, OpSignature, PrepareContext, Prepared, Result, Selector,
    Support,
};

use crate::call::{User, call};
use crate::header::{
    DestroyFn, FOR_ANY_ENCODING, FOR_DENSE, FOR_ENCODING, MAX_INPUTS, PrepareFn, RawKernel, RawPrepared,
    SupportsFn,
};
use crate::node::{CNode, NodeHost};
use crate::op::{COp, Description};
use crate::read::{self, Item, Text};
use crate::run::{CKernel, Functions, Made};

/// A provider of kernels.
pub(crate) struct CProvider {
    key: KernelKey,
    /// The op, if it is this plugin's.
    op: Option<Arc<Description>>,
    supports: Option<SupportsFn>,
    prepare: Option<PrepareFn>,
    destroy: Option<DestroyFn>,
    functions: Functions,
}

impl CProvider {
    /// Reads the description; `what` names it in errors, and `ops` are those of this plugin.
    pub(crate) fn read(what: &str, raw: &Item<RawKernel>, ops: &[COp]) -> Result<Self> {
        let raw = raw.read(what)?;
        let name = raw.name.read(&format!("{what}->name"))?;
        let op_name = raw.op.read(&format!("{what}->op"))?;
        let op = ops.iter().find(|op| op.name() == op_name).map(|op| Arc::clone(&op.0));
        let selector = selector(what, &raw)?;
        if let Some(op) = &op {
            check_selector(what, &selector, &op.signature)?;
        }
        read::reserved(&format!("{what}->reserved"), raw.reserved)?;
        let run = read::function(&format!("{what}->run"), raw.run)?;
        for (field, is_there) in [("serves", raw.serves.is_some()), ("destroy", raw.destroy.is_some())] {
            if is_there && raw.prepare.is_none() {
                return Err(Error::invalid(format_args!(
                    "{what}->{field} is never called, since {what}->prepare is NULL; a function is expected"
                )));
            }
        }
        let key = KernelKey::new(op_name, selector, name).priority(raw.priority).space(raw.space);
        let (supports, prepare, destroy) = (raw.supports, raw.prepare, raw.destroy);
        let functions = Functions { user: User(raw.user), serves: raw.serves, scratch: raw.scratch, run };
        Ok(Self { key, op, supports, prepare, destroy, functions })
    }

    /// The name of its op.
    pub(crate) fn op(&self) -> &str {
        &self.key.op
    }

    fn node(&self, node: &NodeView<'_>) -> Result<CNode> {
        CNode::new(self.op.as_ref().map(|op| &op.signature), node)
    }

    /// The kernel of a node for which `prepare` is there.
    fn make(&self, node: CNode, prepare: PrepareFn, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let host = NodeHost::preparing(cx)?;
        let mut answer = RawPrepared {
            size: size_of::<RawPrepared<'_>>(),
            data: null_mut(),
            note: Text::NULL,
            or_next: 0,
            reserved: 0,
            releases: [0; MAX_INPUTS],
        };
        let user = self.functions.user;
        node.lend(&host, |node| {
            call("prepare", |error| {
                // SAFETY: the node and the answer are structs of the header, alive for the call.
                unsafe { prepare(user.get(), node, &raw mut answer, error) }
            })
        })?;
        // From here on, whatever is wrong with the answer, it is destroyed.
        let made = Made::new(user, answer.data, self.destroy, host.into_memory());
        let note = answer.note.read_or_empty("`prepare` gave a note that")?;
        let released = released(&answer, node.inputs.len())?;
        read::reserved("the `reserved` that `prepare` gave", answer.reserved)?;
        let or_next = read::switch("the `or_next` that `prepare` gave", answer.or_next)?;
        let mut prepared = Prepared::new(CKernel::new(self.functions, node, made, released)).note(note);
        for (input, _) in released.iter().enumerate().filter(|(_, is_released)| **is_released) {
            prepared = prepared.releases(input);
        }
        if !or_next {
            return Ok(prepared);
        }
        if self.functions.serves.is_none() {
            return Err(Error::invalid(
                "`prepare` set `or_next`, and the kernel's `serves`, which says for which shapes, is NULL",
            ));
        }
        let next = cx.next().ok_or_else(|| {
            Error::invalid("`prepare` set `or_next`, and there is no next kernel: `next` was NULL")
        })?;
        Ok(prepared.or_next(next))
    }
}

/// Which inputs are released.
fn released(answer: &RawPrepared<'_>, inputs: usize) -> Result<[bool; MAX_INPUTS]> {
    let mut released = [false; MAX_INPUTS];
    for (input, release) in answer.releases.into_iter().enumerate() {
        released[input] = read::switch(&format!("releases[{input}] that `prepare` gave"), release)?;
        if released[input] && input >= inputs {
            return Err(Error::invalid(format_args!(
                "`prepare` releases input {input}, and the node has {inputs} inputs, from 0"
            )));
        }
    }
    Ok(released)
}

fn selector(what: &str, raw: &RawKernel) -> Result<Selector> {
    if raw.selector != FOR_ENCODING && raw.encoding.is_some() {
        return Err(Error::invalid(format_args!(
            "{what}->encoding is there, and {what}->selector is {}; BITQUILT_FOR_ENCODING is expected with it",
            raw.selector
        )));
    }
    match raw.selector {
        FOR_DENSE => Ok(Selector::Dense),
        FOR_ENCODING => Ok(Selector::Encoding(raw.encoding.read_name(&format!("{what}->encoding"))?)),
        FOR_ANY_ENCODING => Ok(Selector::AnyEncoding),
        code => Err(Error::invalid(format_args!(
            "{what}->selector is {code}; BITQUILT_FOR_DENSE, _ENCODING or _ANY_ENCODING is expected"
        ))),
    }
}

/// Whether nodes of the op can be those of the selector.
fn check_selector(what: &str, selector: &Selector, op: &OpSignature) -> Result<()> {
    let name = &op.name;
    match (selector, op.kernel_input.map(|input| &op.inputs[input])) {
        (Selector::Dense, Some(input)) => Err(Error::invalid(format_args!(
            "{what}->selector is BITQUILT_FOR_DENSE, and the kernel of `{name}` is selected by its encoded input `{}`",
            input.name
        ))),
        (Selector::Encoding(_) | Selector::AnyEncoding, None) => Err(Error::invalid(format_args!(
            "{what}->selector is for an encoding, and `{name}` has no input that is one encoded tensor; BITQUILT_FOR_DENSE is expected"
        ))),
        (Selector::Encoding(encoding), Some(input)) if !input.takes(encoding) => {
            Err(Error::invalid(format_args!(
                "{what}->encoding is `{encoding}`, which the input `{}` of `{name}` does not take",
                input.name
            )))
        }
        _ => Ok(()),
    }
}

impl KernelProvider for CProvider {
    fn key(&self) -> KernelKey {
        self.key.clone()
    }

    fn supports(&self, node: &NodeView<'_>) -> Support {
        let told = match self.node(node) {
            Ok(told) => told,
            Err(error) => return Support::no(error.message()),
        };
        let Some(supports) = self.supports else { return Support::Yes };
        let answer = told.lend(&NodeHost::new(*node), |node| {
            call("supports", |reason| {
                // SAFETY: the node is a struct of the header, alive for the call.
                unsafe { supports(self.functions.user.get(), node, reason) }
            })
        });
        answer.map_or_else(|error| Support::no(error.message()), |()| Support::Yes)
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let node = self.node(cx)?;
        match self.prepare {
            Some(prepare) => self.make(node, prepare, cx),
            None => {
                let made = Made::nothing();
                Ok(Prepared::new(CKernel::new(self.functions, node, made, [false; MAX_INPUTS])))
            }
        }
    }
}
