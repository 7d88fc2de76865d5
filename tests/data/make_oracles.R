# Draws the tables of this folder and writes R's answers about them to r_answers.json.
#
#     Rscript make_oracles.R [folder]          # default: the folder that it is run in
#
# Needs pROC, irr, vcd, ResourceSelection, brglm2, rms and jsonlite. Every case holds the table, the entry of an
# analysis plan, the R expression that answers it, and the answer with 15 significant digits.
# Two habits: glm and lrm stop early, so their fits are refined by Newton steps; p-values come from the lower or upper
# tail itself, where the packages print 1 - pnorm(z) and lose digits.
suppressMessages({
  library(pROC); library(irr); library(vcd); library(ResourceSelection); library(brglm2); library(rms)
  library(jsonlite)
})
set.seed(20240613)
folder <- c(commandArgs(trailingOnly = TRUE), ".")[1]
out <- function(table, name) write.csv(table, file.path(folder, name), row.names = FALSE, quote = FALSE, na = "NA")
expit <- plogis

# ---- tables ---------------------------------------------------------------------------------------------------------

n <- 240
patients <- local({
  malignant <- rbinom(n, 1, 0.45)
  centre <- sample(1:5, n, replace = TRUE, prob = c(8, 6, 4, 3, 2))
  shift <- c(-0.6, 0.4, 0, 0.9, -0.2)[centre]
  common <- rnorm(n)
  logit_a <- round(1.1 * malignant + 0.8 * common + rnorm(n) + shift - 0.4, 6)
  logit_b <- round(1.5 * malignant + 0.8 * common + rnorm(n) + 0.5 * shift - 0.7, 6)
  data.frame(
    centre, malignant, logit_a, logit_b, uneven = round(logit_a * c(1, -0.5, 2, 0.3, 1)[centre], 6),
    p = round(expit(0.8 * logit_b), 5), p_coarse = round(expit(logit_a), 2),
    rating = pmin(5, pmax(1, round(3 + malignant + rnorm(n)))),
    marker = ifelse(runif(n) < 0.08, NA, round(exp(rnorm(n, 2 + 0.7 * malignant, 1.4)), 1)),
    age = round(rnorm(n, 56 + 4 * malignant, 11)), size_mm = round(exp(rnorm(n, 3.2 + 0.15 * malignant, 0.5)), 1),
    sex = sample(c("F", "M"), n, replace = TRUE, prob = c(0.4, 0.6)), stage = sample(1:3, n, replace = TRUE),
    background = sample(c("normal", "steatosis", "fibrosis"), n, replace = TRUE, prob = c(0.5, 0.2, 0.3)),
    hepatitis = rbinom(n, 1, 0.25 + 0.2 * malignant)
  )
})
small <- local({
  y <- rep(c(0, 1), c(14, 10))
  data.frame(y, x = sample(1:997, 24) / 8, arm = rep(c("a", "b"), 12),
             perfect = y + 1:24 / 100, inverse = -y - 24:1 / 100, constant = 7,
             dose = round(rnorm(24) + y, 3), separates = ifelse(y == 1, 1, rbinom(24, 1, 0.4)))
})
readers <- local({
  truth <- rbinom(110, 1, 0.5)
  latent <- 1.6 * truth - 0.8 + 0.7 * rnorm(110)
  call <- function(sd, at) as.integer(latent + rnorm(110, sd = sd) > at)
  scale <- function(sd) pmin(10, pmax(1, round(5.5 + 2 * (latent + rnorm(110, sd = sd)))))
  data.frame(truth, r1 = call(0.9, 0), r2 = call(0.7, 0.2), r3 = call(1.1, -0.3), s1 = scale(0.9), s2 = scale(0.7),
             s3 = scale(1.2), a1 = scale(0.5), a2 = scale(0.4), a3 = scale(0.7),
             model = round(expit(1.4 * (latent + rnorm(110, sd = 0.5))), 4),
             grade1 = sample(c("low", "mid", "high"), 110, replace = TRUE),
             grade2 = "", stringsAsFactors = FALSE)
})
readers$grade2 <- ifelse(runif(110) < 0.6, readers$grade1, sample(c("low", "mid", "high"), 110, replace = TRUE))
classes <- local({
  class <- sample(c("hcc", "icc", "met"), 130, replace = TRUE, prob = c(0.5, 0.2, 0.3))
  z <- sapply(c("hcc", "icc", "met"), function(k) 1.3 * (class == k) + rnorm(130))
  p <- round(exp(z) / rowSums(exp(z)), 3)
  data.frame(class, p)
})
lesions <- local({
  several <- sample(1:4, 60, replace = TRUE)
  patient <- rep(1:60, several)
  effect <- rnorm(60)[patient]
  malignant <- rbinom(length(patient), 1, expit(1.2 * rnorm(60)[patient]))
  score_a <- round(malignant + effect + rnorm(length(patient)), 2)
  data.frame(patient = sprintf("P%02d", patient), malignant, score_a,
             score_b = round(score_a + 0.6 * malignant + rnorm(length(patient)), 1))
})

# ---- what R says ----------------------------------------------------------------------------------------------------

curve <- function(y, s) roc(y, s, levels = c(0, 1), direction = "<", quiet = TRUE)
tail2 <- function(z) 2 * pnorm(-abs(z))
limits <- function(x, n) c(x / n, as.numeric(binom.test(x, n)$conf.int))
quietly <- function(x) suppressWarnings(suppressMessages(x))

ask_roc <- function(y, s) {
  r <- curve(y, s); counts <- c("sensitivity", "specificity", "tp", "fp", "fn", "tn")
  best <- coords(r, "best", best.method = "youden", ret = counts)
  f <- list(n_pos = sum(y == 1), n_neg = sum(y == 0), auc = as.numeric(auc(r)), var = quietly(var(r)),
            se = sqrt(quietly(var(r))), ci95 = as.numeric(quietly(ci.auc(r, method = "delong")))[c(1, 3)])
  if (nrow(best) == 1) c(f, list(youden = as.list(best))) else f        # several thresholds may do equally well
}
ask_partial <- function(y, s, on, from, to)
  list(partial_auc = as.numeric(auc(curve(y, s), partial.auc = c(max(from, to), min(from, to)),
                                    partial.auc.focus = on)))
ask_paired <- function(y, a, b) {
  r1 <- curve(y, a); r2 <- curve(y, b)
  z <- as.numeric(roc.test(r1, r2, method = "delong", paired = TRUE)$statistic)
  list(auc = c(auc(r1), auc(r2)), var = c(var(r1), var(r2)), cov = cov(r1, r2), z = z, p = tail2(z))
}
auc_cov <- function(y, scores) {
  r <- lapply(scores, function(s) curve(y, s))
  S <- outer(seq_along(r), seq_along(r), Vectorize(function(i, j) if (i == j) var(r[[i]]) else cov(r[[i]], r[[j]])))
  list(auc = sapply(r, function(one) as.numeric(auc(one))), cov = S)
}
ask_joint <- function(y, scores) {
  f <- auc_cov(y, scores); L <- cbind(1, -diag(length(f$auc) - 1)); d <- L %*% f$auc
  chi2 <- as.numeric(t(d) %*% solve(L %*% f$cov %*% t(L)) %*% d)
  c(f, list(chi2 = chi2, df = nrow(L), p = pchisq(chi2, nrow(L), lower.tail = FALSE)))
}
ask_unpaired <- function(y, s, group, levels) {
  r <- lapply(levels, function(g) curve(y[group == g], s[group == g]))
  t <- quietly(roc.test(r[[1]], r[[2]], method = "delong", paired = FALSE))
  v <- sapply(r, var); a <- sapply(r, function(one) as.numeric(auc(one)))
  z <- (a[1] - a[2]) / sqrt(sum(v)); df <- as.numeric(t$parameter)
  list(auc = a, var = v, t = as.numeric(t$statistic), df = df, p = 2 * pt(-abs(z), df), z = z, p_normal = tail2(z))
}
ask_clustered <- function(y, scores, cluster) {     # Obuchowski 1997 from the kernel matrix, patient by patient
  id <- factor(cluster); m <- sum(y == 1); k <- sum(y == 0)
  mi <- as.numeric(tapply(y == 1, id, sum)); ni <- as.numeric(tapply(y == 0, id, sum))
  part <- lapply(scores, function(s) {
    psi <- outer(s[y == 1], s[y == 0], function(a, b) (a > b) + 0.5 * (a == b)); theta <- mean(psi)
    sum_by <- function(v, which) { t <- tapply(v, id[which], sum); t[is.na(t)] <- 0; as.numeric(t) }
    list(theta = theta, x = sum_by(rowMeans(psi), y == 1) - mi * theta, y = sum_by(colMeans(psi), y == 0) - ni * theta)
  })
  I10 <- sum(mi > 0); I01 <- sum(ni > 0); I <- nlevels(id)
  S <- outer(seq_along(part), seq_along(part), Vectorize(function(r, s) {
    a <- part[[r]]; b <- part[[s]]
    I10 / (I10 - 1) * sum(a$x * b$x) / m^2 + I01 / (I01 - 1) * sum(a$y * b$y) / k^2 +
      I / (I - 1) * (sum(a$x * b$y) + sum(b$x * a$y)) / (m * k)
  }))
  list(auc = sapply(part, function(one) one$theta), cov = S)
}
ask_clustered_paired <- function(y, a, b, cluster) {
  f <- ask_clustered(y, list(a, b), cluster); z <- (f$auc[1] - f$auc[2]) / sqrt(f$cov[1, 1] + f$cov[2, 2] - 2 * f$cov[1, 2])
  list(auc = f$auc, var = diag(f$cov), cov = f$cov[1, 2], z = z, p = tail2(z))
}
ask_centres <- function(y, s, centre) {              # pairs of one centre; DerSimonian-Laird; Higgins 2009
  each <- lapply(sort(unique(centre)), function(k) { r <- curve(y[centre == k], s[centre == k])
    c(auc = as.numeric(auc(r)), var = var(r), pairs = sum(y[centre == k] == 1) * sum(y[centre == k] == 0)) })
  f <- as.data.frame(do.call(rbind, each)); w <- 1 / f$var; k <- nrow(f)
  q <- sum(w * (f$auc - weighted.mean(f$auc, w))^2)
  tau2 <- max(0, (q - (k - 1)) / (sum(w) - sum(w^2) / sum(w))); v <- 1 / (f$var + tau2)
  mean <- weighted.mean(f$auc, v); half <- qt(0.975, k - 2) * sqrt(tau2 + 1 / sum(v))
  list(auc = weighted.mean(f$auc, f$pairs), var = sum(f$pairs^2 * f$var) / sum(f$pairs)^2, centres = k, mean = mean,
       mean_se = sqrt(1 / sum(v)), tau2 = tau2, i2 = max(0, 1 - (k - 1) / q),
       prediction95 = c(max(0, mean - half), min(1, mean + half)))
}
ask_diagnostic <- function(y, s, at) {
  call <- as.integer(s >= at)
  tp <- sum(call & y); fp <- sum(call & !y); fn <- sum(!call & y); tn <- sum(!call & !y)
  k <- kappa2(cbind(y, call), "unweighted")
  list(tp = tp, fp = fp, fn = fn, tn = tn, sensitivity = limits(tp, tp + fn), specificity = limits(tn, tn + fp),
       ppv = limits(tp, tp + fp), npv = limits(tn, tn + fn), accuracy = limits(tp + tn, length(y)),
       f1 = 2 * tp / (2 * tp + fp + fn), kappa = k$value, kappa_z = k$statistic, kappa_p = tail2(k$statistic))
}
ask_mcnemar <- function(a, b) {
  only_a <- sum(a & !b); only_b <- sum(!a & b)
  list(b = only_a, c = only_b, p_exact = binom.test(only_a, only_a + only_b)$p.value, odds_ratio = only_a / only_b)
}
ask_kappa <- function(a, b) {
  k <- kappa2(cbind(a, b), "unweighted"); l <- sort(unique(c(a, b)))
  list(kappa = k$value, z = k$statistic, p = tail2(k$statistic), n = length(a),
       ase = as.numeric(Kappa(table(factor(a, l), factor(b, l)))$Unweighted["ASE"]))
}
ask_fleiss <- function(ratings) {
  k <- kappam.fleiss(ratings)
  list(kappa = k$value, z = k$statistic, p = tail2(k$statistic), subjects = nrow(ratings), raters = ncol(ratings),
       agree_percent = as.numeric(agree(ratings)$value))
}
ask_rank_sum <- function(x, group, levels) {
  keep <- !is.na(x); x <- x[keep]; group <- group[keep]; a <- x[group == levels[1]]; b <- x[group == levels[2]]
  t <- t.test(a, b); w <- function(...) quietly(wilcox.test(a, b, ...))
  exact <- if (anyDuplicated(x) || length(a) >= 50 || length(b) >= 50) NA else w(exact = TRUE)$p.value
  list(groups = levels, n = c(length(a), length(b)), U = as.numeric(w(exact = FALSE)$statistic),
       p_cc = w(exact = FALSE, correct = TRUE)$p.value, p_nocc = w(exact = FALSE, correct = FALSE)$p.value,
       p_exact = exact, welch_t = as.numeric(t$statistic), welch_df = as.numeric(t$parameter), welch_p = t$p.value,
       mean = c(mean(a), mean(b)), sd = c(sd(a), sd(b)), median = c(median(a), median(b)))
}
ask_kruskal <- function(x, group) {
  k <- kruskal.test(x, factor(group)); f <- oneway.test(x ~ factor(group), var.equal = TRUE)
  list(H = as.numeric(k$statistic), df = as.numeric(k$parameter), p = k$p.value, F = as.numeric(f$statistic),
       F_p = f$p.value)
}
newton <- function(X, y, offset = 0) {               # to the last digit, on standardised columns
  centre <- c(0, colMeans(X)[-1]); scale <- c(1, apply(X, 2, sd)[-1])
  Z <- sweep(sweep(X, 2, centre), 2, scale, "/"); b <- rep(0, ncol(X))
  for (i in 1:30) { q <- expit(as.numeric(Z %*% b) + offset)
    b <- b + solve(crossprod(Z * (q * (1 - q)), Z), crossprod(Z, y - q)) }
  T <- diag(1 / scale, length(scale)); T[1, -1] <- -(centre / scale)[-1]
  q <- expit(as.numeric(Z %*% b) + offset); V <- T %*% solve(crossprod(Z * (q * (1 - q)), Z)) %*% t(T)
  list(beta = as.numeric(T %*% b), se = sqrt(diag(V)),
       loglik = sum(y * log(q) + (1 - y) * log1p(-q)))
}
wald <- function(terms, n, beta, se) {
  z <- beta / se; half <- qnorm(0.975) * se
  list(terms = terms, n = n, beta = beta, se = se, z = z, p = tail2(z), odds_ratio = exp(beta),
       or_ci95 = cbind(exp(beta - half), exp(beta + half)))
}
ask_logistic <- function(formula, data) {
  g <- glm(formula, binomial, data, control = glm.control(epsilon = 1e-14, maxit = 100)); X <- model.matrix(g)
  f <- newton(X, g$y); stopifnot(max(abs(f$beta - coef(g))) < 1e-6)
  c(wald(colnames(X), nrow(X), f$beta, f$se), list(deviance = -2 * f$loglik, loglik = f$loglik,
    null_deviance = g$null.deviance, aic = -2 * f$loglik + 2 * ncol(X)))
}
ask_firth <- function(formula, data) {
  g <- glm(formula, binomial, data, method = brglm2::brglmFit, type = "AS_mean", epsilon = 1e-13, maxit = 5000)
  X <- model.matrix(g); q <- fitted(g); se <- sqrt(diag(solve(crossprod(X * (q * (1 - q)), X))))
  h <- rowSums((X %*% solve(crossprod(X * (q * (1 - q)), X))) * X) * q * (1 - q)
  stopifnot(max(abs(crossprod(X, g$y - q + h * (0.5 - q)))) < 1e-9)   # Firth's score is zero there
  wald(colnames(X), nrow(X), as.numeric(coef(g)), as.numeric(se))
}
ask_hosmer <- function(y, p, g) {
  h <- hoslem.test(y, p, g); chi2 <- as.numeric(h$statistic); df <- as.numeric(h$parameter)
  list(chi2 = chi2, df = df, p = pchisq(chi2, df, lower.tail = FALSE), observed = unclass(unname(h$observed))[, ],
       expected = unclass(unname(h$expected))[, ])
}
ask_calibration <- function(y, p) {
  q <- cut(p, unique(quantile(p, 0:10 / 10)), include.lowest = TRUE); line <- newton(cbind(1, qlogis(p)), y)
  eta <- qlogis(p); a <- 0
  for (i in 1:30) { m <- expit(a + eta); a <- a + sum(y - m) / sum(m * (1 - m)) }
  m <- expit(a + eta)
  list(slope = line$beta[2], slope_se = line$se[2], intercept = line$beta[1], citl = a,
       citl_se = 1 / sqrt(sum(m * (1 - m))), brier = mean((p - y)^2), mean_pred = as.numeric(tapply(p, q, mean)),
       obs_rate = as.numeric(tapply(y, q, mean)), n = as.numeric(table(q)))
}
ask_decision <- function(y, p, at) {
  nb <- function(t, call) sum(call & y) / length(y) - sum(call & !y) / length(y) * t / (1 - t)
  list(net_benefit = sapply(at, function(t) nb(t, p >= t)), treat_all = sapply(at, function(t) nb(t, TRUE | y)))
}
ask_nomogram <- function(data) {
  d <- datadist(data); d$limits["Low:prediction", "age"] <- 30; d$limits["High:prediction", "age"] <- 80
  d$limits["Low:prediction", "size_mm"] <- 10; d$limits["High:prediction", "size_mm"] <- 60
  assign("oracle_dd", d, envir = globalenv()); options(datadist = "oracle_dd")
  f <- lrm(malignant ~ age + size_mm + hepatitis, data, eps = 1e-12, maxit = 100, tol = 1e-14)
  g <- nomogram(f, age = c(30, 80), size_mm = c(10, 60), maxscale = 100)
  list(beta = as.numeric(coef(f)), points = lapply(g[c("age", "size_mm", "hepatitis")], function(one) as.numeric(one$points)))
}
ask_table <- function(data, group, numeric, categorical) {
  g <- data[[group]]; levels <- sort(unique(g)); each <- function(x, f) sapply(levels, function(l) f(x[g == l & !is.na(x)]))
  number <- function(x) list(n = each(x, length), missing = sapply(levels, function(l) sum(g == l & is.na(x))),
    mean = each(x, mean), sd = each(x, sd), median = each(x, median),
    q1 = each(x, function(v) quantile(v, 0.25, names = FALSE)), q3 = each(x, function(v) quantile(v, 0.75, names = FALSE)))
  category <- function(x) { t <- table(x, g); k <- quietly(chisq.test(t, correct = FALSE))
    list(levels = rownames(t), counts = unclass(unname(t))[, ], chi2 = as.numeric(k$statistic), chi2_p = k$p.value) }
  c(list(groups = as.character(levels), n = as.numeric(table(g))), lapply(data[numeric], number), lapply(data[categorical], category))
}
ask_multiclass <- function(truth, p) {
  k <- colnames(p); each <- lapply(k, function(one) curve(as.integer(truth == one), p[[one]]))
  call <- k[apply(p, 1, which.max)]; t <- table(factor(truth, k), factor(call, k))
  micro <- curve(unlist(lapply(k, function(one) as.integer(truth == one))), unlist(p))
  list(classes = k, auc = sapply(each, function(r) as.numeric(auc(r))), var = sapply(each, var),
       ci95 = t(sapply(each, function(r) as.numeric(ci.auc(r))[c(1, 3)])), macro_auc = mean(sapply(each, auc)),
       micro_auc = as.numeric(auc(micro)), hand_till = as.numeric(quietly(multiclass.roc(truth, p)$auc)),
       confusion = unclass(unname(t))[, ], accuracy = limits(sum(diag(t)), sum(t)),
       kappa = kappa2(cbind(truth, call), "unweighted")$value)
}
ask_readers <- function(truth, calls, model, at) {
  ai <- as.integer(model >= at); m <- ask_diagnostic(truth, model, at)
  each <- lapply(calls, function(r) list(
    accuracy = ask_diagnostic(truth, r, 1)[c("tp", "fp", "fn", "tn", "sensitivity", "specificity", "f1", "kappa")],
    mcnemar_sensitivity = ask_mcnemar(r[truth == 1], ai[truth == 1]),
    mcnemar_specificity = ask_mcnemar(1 - r[truth == 0], 1 - ai[truth == 0]),
    mcnemar_accuracy = ask_mcnemar(r == truth, ai == truth)))
  sens <- sapply(each, function(one) one$accuracy$sensitivity[1]); f1 <- sapply(each, function(one) one$accuracy$f1)
  list(readers = each, reader_mean = list(sensitivity = mean(sens), f1 = mean(f1)),
       reader_t_p = list(sensitivity = t.test(sens, mu = m$sensitivity[1])$p.value, f1 = t.test(f1, mu = m$f1)$p.value))
}
ask_reader_mean <- function(truth, scores, against) {  # DeLong covariances; Obuchowski-Rockette 1995, Hillis 2007
  r <- length(scores); f <- auc_cov(truth, c(scores, against)); one <- 1:r; two <- r + 1:r
  a <- matrix(f$auc, ncol = 2); w <- c(rep(1 / r, r), rep(0, r)); d <- c(rep(1 / r, r), rep(-1 / r, r))
  off <- row(diag(r)) != col(diag(r))
  ms_r <- var(a[, 1]); cov2_one <- max(mean(f$cov[one, one][off]), 0)
  se1 <- sqrt((ms_r + r * cov2_one) / r); df1 <- (ms_r + r * cov2_one)^2 / (ms_r^2 / (r - 1))
  ms_tr <- var(a[, 1] - a[, 2]) / 2; cov2 <- mean(c(f$cov[one, one][off], f$cov[two, two][off]))
  error <- ms_tr + r * max(cov2 - mean(f$cov[one, two][off]), 0)
  se2 <- sqrt(2 / r * error); df2 <- error^2 / (ms_tr^2 / (r - 1)); gap <- mean(a[, 1]) - mean(a[, 2])
  fixed <- function(estimate, v, g = qnorm(0.975) * sqrt(v)) list(estimate = estimate, var = v,
    ci95 = c(estimate - g, estimate + g), z = estimate / sqrt(v), p = tail2(estimate / sqrt(v)))
  over <- function(estimate, se, df, g = qt(0.975, df) * se) list(se = se, df = df, ci95 = c(estimate - g, estimate + g),
    p = 2 * pt(-abs(estimate / se), df))
  m <- fixed(mean(a[, 1]), as.numeric(w %*% f$cov %*% w)); names <- c(names(scores), names(against))
  reader <- lapply(setNames(seq_along(names), names), function(i) list(auc = f$auc[i], var = f$cov[i, i]))
  list(auc = m$estimate, var = m$var, ci95 = pmin(1, m$ci95), readers = reader[one], against = reader[two],
       random_readers = over(mean(a[, 1]), se1, df1)[c("se", "df", "ci95")],
       difference = fixed(gap, as.numeric(d %*% f$cov %*% d)), difference_random = over(gap, se2, df2))
}

# ---- cases ----------------------------------------------------------------------------------------------------------

cases <- list()
case <- function(id, table, entry, answer)
  cases[[length(cases) + 1]] <<- list(id = id, table = table, entry = entry, r = paste(deparse(substitute(answer), 500), collapse = " "), expected = answer)

P <- patients
for (s in c("logit_a", "logit_b", "p_coarse", "rating"))
  case(paste0("roc.", s), "patients", list(kind = "roc", score = s, label = "malignant"), ask_roc(P$malignant, P[[s]]))
M <- P[!is.na(P$marker), ]
case("roc.marker_with_missing", "patients", list(kind = "roc", score = "marker", label = "malignant"), ask_roc(M$malignant, M$marker))
for (on in c("specificity", "sensitivity")) for (s in c("logit_b", "rating"))
  case(paste("partial", on, s, sep = "."), "patients",
       list(kind = "roc", score = s, label = "malignant", partial = list(on = on, from = 1, to = 0.85)),
       ask_partial(P$malignant, P[[s]], on, 1, 0.85))
case("roc.by_sex", "patients", list(kind = "roc", score = "logit_b", label = "malignant", by = "sex"),
     list(by = "sex", strata = lapply(c(F = "F", M = "M"), function(g) ask_roc(P$malignant[P$sex == g], P$logit_b[P$sex == g]))))
case("paired.logits", "patients", list(kind = "compare_paired", scores = c("logit_a", "logit_b"), label = "malignant"),
     ask_paired(P$malignant, P$logit_a, P$logit_b))
case("paired.marker_rating", "patients", list(kind = "compare_paired", scores = c("marker", "rating"), label = "malignant"),
     ask_paired(M$malignant, M$marker, M$rating))
case("joint", "patients", list(kind = "compare_joint", scores = c("logit_a", "logit_b", "rating", "p_coarse"), label = "malignant"),
     ask_joint(P$malignant, P[c("logit_a", "logit_b", "rating", "p_coarse")]))
case("unpaired.sex", "patients", list(kind = "compare_unpaired", score = "logit_a", label = "malignant", strata = "sex", levels = c("F", "M")),
     ask_unpaired(P$malignant, P$logit_a, P$sex, c("F", "M")))
case("unpaired.stage", "patients", list(kind = "compare_unpaired", score = "rating", label = "malignant", strata = "stage", levels = c(1, 3)),
     ask_unpaired(P$malignant, P$rating, P$stage, c(1, 3)))
for (s in c("logit_a", "uneven"))                    # between-centre variance zero, and above
  case(paste0("centres.", s), "patients", list(kind = "centre_auc", score = s, label = "malignant"), ask_centres(P$malignant, P[[s]], P$centre))
case("diagnostic.p", "patients", list(kind = "diagnostic", score = "p", label = "malignant", threshold = 0.5), ask_diagnostic(P$malignant, P$p, 0.5))
case("diagnostic.rating", "patients", list(kind = "diagnostic", score = "rating", label = "malignant", threshold = 4), ask_diagnostic(P$malignant, P$rating, 4))
case("proportion", "patients", list(kind = "proportion", column = "hepatitis"),
     list(x = sum(P$hepatitis), n = n, estimate = mean(P$hepatitis), ci95 = limits(sum(P$hepatitis), n)[2:3]))
case("proportion.all", "small", list(kind = "proportion", column = "separates", by = "y"),
     list(by = "y", strata = lapply(c(`0` = 0, `1` = 1), function(g) { x <- small$separates[small$y == g]
       list(x = sum(x), n = length(x), ci95 = limits(sum(x), length(x))[2:3]) })))
case("rank_sum.marker", "patients", list(kind = "rank_sum", x = "marker", group = "malignant"), ask_rank_sum(P$marker, P$malignant, c("0", "1")))
case("rank_sum.age", "patients", list(kind = "rank_sum", x = "age", group = "sex", levels = c("M", "F")), ask_rank_sum(P$age, P$sex, c("M", "F")))
case("rank_sum.exact", "small", list(kind = "rank_sum", x = "x", group = "arm"), ask_rank_sum(small$x, small$arm, c("a", "b")))
case("kruskal.size", "patients", list(kind = "kruskal_wallis", x = "size_mm", group = "background"), ask_kruskal(P$size_mm, P$background))
case("kruskal.marker", "patients", list(kind = "kruskal_wallis", x = "marker", group = "stage"), ask_kruskal(P$marker, P$stage))
P$background <- factor(P$background, c("normal", "fibrosis", "steatosis")); P$stage <- factor(P$stage)
case("logistic.one", "patients", list(kind = "logistic", outcome = "malignant", terms = I("size_mm")), ask_logistic(malignant ~ size_mm, P))
case("logistic.factors", "patients",
     list(kind = "logistic", outcome = "malignant", terms = c("age", "background", "hepatitis", "stage", "logit_b"), factors = list(background = "normal", stage = 1)),
     ask_logistic(malignant ~ age + background + hepatitis + stage + logit_b, P))
case("logistic.missing", "patients", list(kind = "logistic", outcome = "malignant", terms = c("marker", "age")), ask_logistic(malignant ~ marker + age, P))
case("firth.separated", "small", list(kind = "logistic", outcome = "y", terms = c("separates", "dose"), firth = TRUE), ask_firth(y ~ separates + dose, small))
case("firth.patients", "patients", list(kind = "logistic", outcome = "malignant", terms = c("age", "hepatitis", "logit_a"), firth = TRUE),
     ask_firth(malignant ~ age + hepatitis + logit_a, P))
for (g in c(10, 6)) case(paste0("hosmer_lemeshow.", g), "patients", list(kind = "hosmer_lemeshow", y = "malignant", p = "p", groups = g), ask_hosmer(P$malignant, P$p, g))
case("calibration", "patients", list(kind = "calibration", y = "malignant", p = "p"), ask_calibration(P$malignant, P$p))
at <- c(0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.95)
case("decision_curve", "patients", list(kind = "decision_curve", y = "malignant", p = "p_coarse", thresholds = at), ask_decision(P$malignant, P$p_coarse, at))
case("nomogram", "patients", list(kind = "nomogram", outcome = "malignant", terms = c("age", "size_mm", "hepatitis"), limits = list(age = c(30, 80), size_mm = c(10, 60), hepatitis = c(0, 1))),
     ask_nomogram(patients[c("malignant", "age", "size_mm", "hepatitis")]))
case("table_one.malignant", "patients", list(kind = "table_one", group = "malignant", numeric = c("age", "size_mm", "marker"), categorical = c("sex", "stage", "background")),
     ask_table(transform(patients, stage = as.character(stage)), "malignant", c("age", "size_mm", "marker"), c("sex", "stage", "background")))
for (s in c("perfect", "inverse", "constant"))
  case(paste0("roc.", s), "small", list(kind = "roc", score = s, label = "y"), ask_roc(small$y, small[[s]]))
R <- readers
case("mcnemar", "readers", list(kind = "mcnemar", first = "r1", second = "r3"), ask_mcnemar(R$r1, R$r3))
case("cohen_kappa.calls", "readers", list(kind = "cohen_kappa", raters = c("r1", "r2")), ask_kappa(R$r1, R$r2))
case("cohen_kappa.grades", "readers", list(kind = "cohen_kappa", raters = c("grade1", "grade2")), ask_kappa(R$grade1, R$grade2))
case("fleiss_kappa.calls", "readers", list(kind = "fleiss_kappa", raters = c("r1", "r2", "r3")), ask_fleiss(R[c("r1", "r2", "r3")]))
case("fleiss_kappa.scales", "readers", list(kind = "fleiss_kappa", raters = c("s1", "s2", "s3")), ask_fleiss(R[c("s1", "s2", "s3")]))
case("readers", "readers", list(kind = "readers", label = "truth", readers = c("r1", "r2", "r3"), model = "model", threshold = 0.5),
     ask_readers(R$truth, R[c("r1", "r2", "r3")], R$model, 0.5))
zone <- function(x) limits(sum(x >= 4 & x <= 7), length(x))
case("low_confidence", "readers", list(kind = "low_confidence", scales = list(s1 = "ordinal", s2 = "ordinal")),
     list(raters = list(s1 = list(estimate = zone(R$s1)[1], ci95 = zone(R$s1)[2:3]), s2 = list(estimate = zone(R$s2)[1], ci95 = zone(R$s2)[2:3])),
          mcnemar = ask_mcnemar(R$s1 %in% 4:7, R$s2 %in% 4:7)))
case("reader_mean", "readers", list(kind = "reader_mean", scores = c("s1", "s2", "s3"), against = c("a1", "a2", "a3"), label = "truth"),
     ask_reader_mean(R$truth, R[c("s1", "s2", "s3")], R[c("a1", "a2", "a3")]))
case("multiclass", "classes", list(kind = "multiclass", label = "class", scores = list(hcc = "hcc", icc = "icc", met = "met")),
     ask_multiclass(classes$class, classes[c("hcc", "icc", "met")]))
L <- lesions
case("clustered.roc", "lesions", list(kind = "roc", score = "score_a", label = "malignant", cluster = "patient"),
     { f <- ask_clustered(L$malignant, list(L$score_a), L$patient); list(auc = f$auc, var = as.numeric(f$cov)) })
case("clustered.paired", "lesions", list(kind = "compare_paired", scores = c("score_a", "score_b"), label = "malignant", cluster = "patient"),
     ask_clustered_paired(L$malignant, L$score_a, L$score_b, L$patient))
images <- list(c(0.9, 0.2, 0.5), 0.3, c(0, 0, 0), c(0.999, 0.001))
case("hcc_risk_score", "none", list(kind = "hcc_risk_score", images = images),
     list(score = sapply(images, function(p) { w <- if (sum(p)) p / sum(p) else 0 * p; -sum(w * log10(1 - p)) / length(p) })))

used <- c("pROC", "irr", "vcd", "ResourceSelection", "brglm2", "rms", "jsonlite")
meta <- list(script = "make_oracles.R", seed = 20240613, R = R.version.string, packages = sapply(used, function(p) as.character(packageVersion(p)), simplify = FALSE))
for (name in c("patients", "small", "readers", "classes", "lesions")) out(get(name), paste0("r_", name, ".csv"))
json <- function(x) toJSON(x, auto_unbox = TRUE, digits = I(15), na = "null", null = "null")
write(c(paste0('{"meta": ', json(meta), ","), '"cases": [', paste(sapply(cases, json), collapse = ",\n"), "]}"),
      file.path(folder, "r_answers.json"))
cat(length(cases), "cases\n")
