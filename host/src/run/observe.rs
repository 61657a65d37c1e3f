//! Who looks at a run while it goes on.

use bitquilt_plugin_api::{Executor, TensorView};

use crate::plan::{Layout, Program, RunError};

/// What a run tells of its steps.
pub(crate) trait Observer {
    /// What is noted when something begins.
    type Mark: Copy;
    /// Something begins.
    fn begin(&self) -> Self::Mark;
    /// A step is next: what it reads is there.
    fn inputs(&mut self, step: usize, run: &impl Values) -> Result<(), RunError>;
    /// A step's kernel has run since the mark.
    fn step(&mut self, step: usize, begin: Self::Mark, program: &Program, layout: &Layout);
    /// A transform has run since the mark.
    fn transform(&mut self, slot: usize, begin: Self::Mark, program: &Program, layout: &Layout);
}

/// The values that there are while a run goes on.
pub(crate) trait Values {
    /// What is run.
    fn program(&self) -> &Program;
    /// A value; none for a constant that was released.
    fn value(&self, value: usize) -> Option<TensorView<'_>>;
    /// The run's threads.
    fn executor(&self) -> Executor<'_>;
}

/// Nobody looks.
impl Observer for () {
    type Mark = ();
    #[inline(always)]
    fn begin(&self) {}
    #[inline(always)]
    fn inputs(&mut self, _: usize, _: &impl Values) -> Result<(), RunError> {
        Ok(())
    }
    #[inline(always)]
    fn step(&mut self, _: usize, (): (), _: &Program, _: &Layout) {}
    #[inline(always)]
    fn transform(&mut self, _: usize, (): (), _: &Program, _: &Layout) {}
}

/// Two look.
impl<A: Observer, B: Observer> Observer for (&mut A, &mut B) {
    type Mark = (A::Mark, B::Mark);

    fn begin(&self) -> Self::Mark {
        (self.0.begin(), self.1.begin())
    }
    fn inputs(&mut self, step: usize, run: &impl Values) -> Result<(), RunError> {
        self.0.inputs(step, run)?;
        self.1.inputs(step, run)
    }
    fn step(&mut self, step: usize, begin: Self::Mark, program: &Program, layout: &Layout) {
        self.0.step(step, begin.0, program, layout);
        self.1.step(step, begin.1, program, layout);
    }
    fn transform(&mut self, slot: usize, begin: Self::Mark, program: &Program, layout: &Layout) {
        self.0.transform(slot, begin.0, program, layout);
        self.1.transform(slot, begin.1, program, layout);
    }
}
