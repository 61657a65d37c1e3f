//! What a search tells of its progress.

/// What a search is doing; each is told with how much of it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Weights are encoded, to measure their errors; counted in weights.
    Errors,
    /// The model is run with one weight after the other changed; counted in runs.
    Sensitivities,
    /// Whole mixes are run; counted in mixes.
    Candidates,
    /// The model is run again with one weight after the other changed, from the best mix.
    Refinement,
}

/// What is told of the progress: the stage, what is done, and of how much.
pub type Progress<'p> = dyn FnMut(Stage, usize, usize) + 'p;
