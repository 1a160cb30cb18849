# SPDX-License-Identifier: Apache-2.0
"""Everything that is computed once before a training: latents, embeddings of texts, and their files."""
