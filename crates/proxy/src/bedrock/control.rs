//! The control plane: which foundation models and inference profiles there are.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock.html>

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::endpoint::encode_segment;
use super::{Bedrock, Target, UpstreamError};

/// A list holds some hundreds of models of some hundred bytes each.
const MAX_LIST_BYTES: usize = 8 << 20;
/// A page holds up to 1,000 profiles; a list that does not end is cut here.
const MAX_PAGES: usize = 20;

/// A foundation model of the region.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FoundationModel {
    /// Its id, without a profile prefix.
    pub(crate) model_id: String,
    /// Its display name.
    pub(crate) model_name: Option<String>,
    /// `TEXT`, `IMAGE`, `EMBEDDING` …
    pub(crate) output_modalities: Vec<String>,
    /// `ON_DEMAND`, `PROVISIONED`, `INFERENCE_PROFILE`.
    pub(crate) inference_types_supported: Vec<String>,
    /// Its lifecycle.
    pub(crate) model_lifecycle: Lifecycle,
}

/// The lifecycle of a model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Lifecycle {
    /// `ACTIVE` or `LEGACY`.
    pub(crate) status: Option<String>,
    /// First day, RFC 3339.
    pub(crate) start_of_life_time: Option<String>,
    /// Last day, RFC 3339.
    pub(crate) end_of_life_time: Option<String>,
}

/// An inference profile of AWS or of the account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct InferenceProfile {
    /// `us.anthropic.…`, or the account's own.
    pub(crate) inference_profile_id: String,
    /// The models it routes to, one for each region.
    pub(crate) models: Vec<ProfileModel>,
}

/// A model of an inference profile.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ProfileModel {
    /// `arn:aws:bedrock:us-east-1::foundation-model/…`
    pub(crate) model_arn: String,
}

impl InferenceProfile {
    /// The ARNs of the models it routes to.
    pub(crate) fn arns(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|model| model.model_arn.as_str())
    }
}

impl Bedrock {
    /// ListFoundationModels: all of the region.
    ///
    /// # Errors
    /// When AWS responds with an error, or there is no usable response.
    pub(crate) async fn foundation_models(&self) -> Result<Vec<FoundationModel>, UpstreamError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct List {
            model_summaries: Vec<FoundationModel>,
        }
        self.get_json::<List>("/foundation-models", "").await.map(|list| list.model_summaries)
    }

    /// ListInferenceProfiles: all system-defined profiles of the region.
    ///
    /// # Errors
    /// When AWS responds with an error, or there is no usable response.
    pub(crate) async fn inference_profiles(&self) -> Result<Vec<InferenceProfile>, UpstreamError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            inference_profile_summaries: Vec<InferenceProfile>,
            next_token: Option<String>,
        }
        let (mut all, mut token) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let mut path = "/inference-profiles?maxResults=1000&type=SYSTEM_DEFINED".to_owned();
            if !token.is_empty() {
                path.push_str("&nextToken=");
                encode_segment(&token, &mut path);
            }
            let page: Page = self.get_json(&path, "").await?;
            all.extend(page.inference_profile_summaries);
            match page.next_token {
                Some(next) if !next.is_empty() && next != token => token = next,
                _ => break,
            }
        }
        Ok(all)
    }

    /// GetInferenceProfile, in the region of an ARN.
    ///
    /// # Errors
    /// When AWS responds with an error, or there is no usable response.
    pub(crate) async fn inference_profile(&self, id: &str) -> Result<InferenceProfile, UpstreamError> {
        self.get_json(&profile_path(id), id).await
    }

    /// `GET /inference-profiles` with the client's own query, forwarded.
    ///
    /// # Errors
    /// When AWS responds with an error, or there is no response.
    pub(crate) async fn forward_profiles(
        &self,
        query: Option<&str>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        self.get(&self.targets.control(""), &format!("/inference-profiles{query}")).await
    }

    /// `GET /inference-profiles/{id}`, forwarded.
    ///
    /// # Errors
    /// When AWS responds with an error, or there is no response.
    pub(crate) async fn forward_profile(&self, id: &str) -> Result<Response<Incoming>, UpstreamError> {
        self.get(&self.targets.control(id), &profile_path(id)).await
    }

    async fn get(&self, target: &Target, path: &str) -> Result<Response<Incoming>, UpstreamError> {
        let request = target.request(Method::GET, path, HeaderMap::new(), Bytes::new())?;
        self.look_up(target, &request).await
    }

    async fn get_json<T: DeserializeOwned>(&self, path: &str, id: &str) -> Result<T, UpstreamError> {
        let target = self.targets.control(id);
        let response = self.get(&target, path).await?;
        target.read_json(response.into_body(), MAX_LIST_BYTES).await
    }
}

fn profile_path(id: &str) -> String {
    let mut path = "/inference-profiles/".to_owned();
    encode_segment(id, &mut path);
    path
}
