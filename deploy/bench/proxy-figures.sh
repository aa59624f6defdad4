# shellcheck shell=bash
# The figures of the suite `proxy`: medians, ratios of pairs, tables and bounds. It is sourced.
#
# A ratio is that of two subjects in the same round, which met the same machine; its median is what counts. "lb/nginx" and
# "lb/haproxy" are both there; the greater one is that to the better peer.

# What lb may be: CASE METRIC SUBJECT MOST [ROUNDS]. A bound of `peers` is one of both ratios; with fewer rounds it is not
# judged.
BOUNDS='
keepalive-saturated cpu_us_per_request peers 1.05
keepalive-saturated-2t cpu_us_per_request peers 1.05
keepalive-3000rps cpu_us_per_request peers 1.05
keepalive-3000rps p99_ms peers 1.15 9
post-keepalive cpu_us_per_request peers 1.10
new-connection cpu_us_per_request peers 1.10
tls-keepalive cpu_us_per_request peers 1.00
tls-handshake cpu_us_per_request peers 0.80
h2 cpu_us_per_request peers 1.00
body-1m cpu_us_per_request peers 1.00
idle-2000 kb_per_idle_connection lb 2
idle-20000 kb_per_idle_connection lb 2
idle-tls-2000 kb_per_idle_connection lb 16
swap cpu_us_per_request lb/lb-at-rest 1.05
swap p99_ms lb/lb-at-rest 1.05
start rss_kb lb 20480
start start_ms lb 100
'

# Metrics of which ratios say something.
COMPARED='cpu_us_per_request instructions_per_request requests_per_s p50_ms p99_ms p999_ms kb_per_idle_connection rss_kb rss_peak_kb start_ms binary_kb'

# write_figures makes rows of FIGURES of what was noted in RESULTS.
write_figures() {
    awk -F'\t' -v suite="$SUITE" -v compared="$COMPARED" '
        function shown(v) { return sprintf(v >= 1000 || v <= -1000 ? "%.0f" : "%.4f", v) }
        function row(case_, subject, metric, unit, values,    list, n, i, j, t) {
            n = split(values, list, " ")
            for (i = 2; i <= n; i++) {
                t = list[i] + 0
                for (j = i - 1; j >= 1 && list[j] + 0 > t; j--) list[j + 1] = list[j]
                list[j + 1] = t
            }
            t = n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
            printf "{\"suite\": \"%s\", \"case\": \"%s\", \"subject\": \"%s\", \"metric\": \"%s\", \"unit\": \"%s\", \"median\": %s, \"min\": %s, \"max\": %s, \"n\": %d}\n",
                suite, case_, subject, metric, unit, shown(t), shown(list[1]), shown(list[n]), n
        }
        {
            key = $2 SUBSEP $4
            if (!(key in unit)) { unit[key] = $5; order[++count] = key }
            if (!((key, $3) in all)) { subjects[key] = subjects[key] " " $3 }
            all[key, $3] = all[key, $3] " " $6
            of[key, $3, $1] = $6
            if ($1 > rounds) rounds = $1
        }
        END {
            for (i = 1; i <= count; i++) {
                key = order[i]; split(key, part, SUBSEP)
                width = split(subjects[key], names, " ")
                for (s = 1; s <= width; s++) row(part[1], names[s], part[2], unit[key], all[key, names[s]])
                if (index(" " compared " ", " " part[2] " ") == 0) continue
                for (s = 1; s <= width; s++) {
                    if (names[s] == "lb") continue
                    ratios = ""
                    for (r = 1; r <= rounds; r++)
                        if ((key, "lb", r) in of && of[key, names[s], r] > 0)
                            ratios = ratios " " of[key, "lb", r] / of[key, names[s], r]
                    if (ratios != "") row(part[1], "lb/" names[s], part[2], "ratio", ratios)
                }
            }
        }' "$RESULTS" >>"$FIGURES"
}

# table prints all of them.
table() {
    # shellcheck disable=SC2153 # as the suite was called
    printf '\nMedians of %s rounds, and of the ratios of each round (least to most)\n\n' "$ROUNDS"
    awk -v suite="$SUITE" "$READ_FIGURES"'
        value("suite") == suite {
            row = sprintf("  %-23s %-25s", value("case"), value("metric"))
            if (!(row in seen)) { seen[row]; order[++count] = row }
            subject = value("subject"); text = shown(value("median") + 0)
            if (value("unit") == "ratio") text = text " (" shown(value("min") + 0) "-" shown(value("max") + 0) ")"
            line[row] = line[row] sprintf(" %s %s ", subject, text)
        }
        END { for (r = 1; r <= count; r++) print order[r] line[order[r]] }' "$FIGURES"
}

# bounds says of each whether it is met, and fails if one is missed. Where a subject that should have had no time left had
# some, that is said: the load was the limit, or somebody else had its core.
bounds() {
    printf '\nBounds of lb\n'
    awk -v bounds="$BOUNDS" -v saturated="${SATURATED[*]}" -v suite="$SUITE" "$READ_FIGURES"'
        function judge(what, have, most, rounds, least,    verdict) {
            verdict = have <= most ? "met" : "MISSED"
            if (rounds < least) verdict = "not judged, " least " rounds are needed"
            if (verdict == "MISSED") missed = 1
            printf "    %-62s %9.3f of %9.2f: %s\n", what, have, most, verdict
        }
        value("suite") == suite {
            key = value("case") " " value("metric") " " value("subject")
            median[key] = value("median") + 0; n[key] = value("n") + 0
            if (value("metric") == "utilisation") busy[value("case")] = busy[value("case")] " " value("subject")
        }
        END {
            count = split(bounds, lines, "\n")
            for (i = 1; i <= count; i++) {
                if (split(lines[i], b, " ") < 4) continue
                who = b[3]; key = b[1] " " b[2] " "
                if (who == "peers") {
                    if (!(key "lb/nginx" in median) || !(key "lb/haproxy" in median)) continue
                    who = median[key "lb/nginx"] > median[key "lb/haproxy"] ? "lb/nginx" : "lb/haproxy"
                }
                if (!(key who in median)) continue
                judge(key who, median[key who], b[4], n[key who], b[5] + 0)
            }
            count = split(saturated, cases, " ")
            for (i = 1; i <= count; i++) {
                most = split(busy[cases[i]], u, " "); text = ""
                for (j = 1; j <= most; j++) {
                    used = median[cases[i] " utilisation " u[j]]; waited = median[cases[i] " waiting " u[j]]
                    if (used <= 0.95) text = text sprintf(" %s %.2f (+%.2f)", u[j], used, waited)
                }
                if (text == "") continue
                printf "    %s: not saturated; cores used (and waited for, while others had them):%s\n", cases[i], text
            }
            exit missed
        }' "$FIGURES"
}
