// SPDX-License-Identifier: Apache-2.0
// Runs before anything is drawn, as a file of its own: the page's policy allows no script in the HTML.
import { applyTheme } from "./common/theme.ts";

applyTheme();
