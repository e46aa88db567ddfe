//! `ImageService`: one file an RPC.

mod image_fs_info;
mod image_status;
mod list_images;
mod pull_image;
mod remove_image;
mod stream_images;

use crate::proto::image_service_server::ImageService;
use crate::proto::*;
use engine::Engine;
use futures::stream::BoxStream;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub(crate) struct Images {
    pub(crate) engine: Arc<Engine>,
}

/// The messages of a streaming answer.
type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// Methods that hand their request to the file of their name.
macro_rules! answer {
    ($self:ident, $module:ident, $request:ident) => {
        $module::answer($self, $request.into_inner()).await.map(Response::new)
    };
}

#[tonic::async_trait]
impl ImageService for Images {
    type StreamImagesStream = Messages<StreamImagesResponse>;

    async fn list_images(
        &self,
        r: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        answer!(self, list_images, r)
    }

    async fn stream_images(
        &self,
        r: Request<StreamImagesRequest>,
    ) -> Result<Response<Self::StreamImagesStream>, Status> {
        answer!(self, stream_images, r)
    }

    async fn image_status(
        &self,
        r: Request<ImageStatusRequest>,
    ) -> Result<Response<ImageStatusResponse>, Status> {
        answer!(self, image_status, r)
    }

    async fn pull_image(&self, r: Request<PullImageRequest>) -> Result<Response<PullImageResponse>, Status> {
        answer!(self, pull_image, r)
    }

    async fn remove_image(
        &self,
        r: Request<RemoveImageRequest>,
    ) -> Result<Response<RemoveImageResponse>, Status> {
        answer!(self, remove_image, r)
    }

    async fn image_fs_info(
        &self,
        r: Request<ImageFsInfoRequest>,
    ) -> Result<Response<ImageFsInfoResponse>, Status> {
        answer!(self, image_fs_info, r)
    }
}
