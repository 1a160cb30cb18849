// SPDX-License-Identifier: Apache-2.0
// Runs before anything is drawn; it is in the HTML itself.
import { applyTheme } from "./common/theme.ts";

applyTheme();
