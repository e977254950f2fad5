//! What a model can take. Data in, answers out: the table itself belongs to whoever knows the models.

/// How a model caches prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PromptCache {
    /// Not on request: a cache point is refused.
    #[default]
    None,
    /// For five minutes.
    FiveMinutes,
    /// For five minutes or an hour.
    OneHour,
}

/// What a model can take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether it is a Claude model, which takes Anthropic's own members through Converse.
    pub claude: bool,
    /// How it caches prompts.
    pub prompt_cache: PromptCache,
}

impl Capabilities {
    /// A Claude model of today.
    pub const CLAUDE: Self = Self { claude: true, prompt_cache: PromptCache::OneHour };
}
