//! What Pingora wants to know of every stream and a plain TCP socket of ours has no answer to.

/// Makes `$type`, which reads and writes and has an `fn fd(&self)`, a stream of Pingora's that carries no
/// TLS, no timing and no addresses: we keep those elsewhere or do not need them.
macro_rules! plain_stream {
    ($type:ty) => {
        #[async_trait::async_trait]
        impl pingora_core::protocols::Shutdown for $type {
            async fn shutdown(&mut self) {
                let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
            }
        }

        impl pingora_core::protocols::UniqueID for $type {
            fn id(&self) -> i32 {
                self.fd()
            }
        }

        impl pingora_core::protocols::Ssl for $type {}
        impl pingora_core::protocols::Peek for $type {}

        impl pingora_core::protocols::GetTimingDigest for $type {
            fn get_timing_digest(&self) -> Vec<Option<pingora_core::protocols::TimingDigest>> {
                Vec::new()
            }
        }

        impl pingora_core::protocols::GetProxyDigest for $type {
            fn get_proxy_digest(
                &self,
            ) -> Option<std::sync::Arc<pingora_core::protocols::raw_connect::ProxyDigest>> {
                None
            }
        }

        impl pingora_core::protocols::GetSocketDigest for $type {
            fn get_socket_digest(&self) -> Option<std::sync::Arc<pingora_core::protocols::SocketDigest>> {
                None
            }
        }
    };
}

pub(crate) use plain_stream;
