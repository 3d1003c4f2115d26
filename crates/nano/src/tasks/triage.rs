//! A complaint to the hospital department to visit, with a warning where it may be an emergency.
//!
//! The rules, which the card states too: a red flag goes to the emergency department whatever else is said; a pregnant person
//! to obstetrics; a child with a cough, a fever or stomach trouble to pediatrics; else the symptoms decide.

use super::Task;
use crate::example::{Example, Scoring};
use crate::grammar::{Language, Writer};
use serde_json::json;

/// The task.
pub const TASK: Task = Task { name: "triage", scoring: Scoring::Text, weight: 11, max_tokens: 96, write };

/// A department and what one goes there with. Symptoms come in pairs that are never complained of together with another's.
struct Department {
    zh: &'static str,
    en: &'static str,
    symptoms_zh: &'static [&'static str],
    symptoms_en: &'static [&'static str],
    /// Children with these go to pediatrics.
    general: bool,
}

fn write(w: Writer) -> Example {
    let mut w = w;
    let language = w.language();
    let who = w.below(10);
    let red = w.chance(30);
    let department = &DEPARTMENTS[w.below(DEPARTMENTS.len())];
    let symptoms = language.pick(department.symptoms_zh, department.symptoms_en);
    let picked = 1 + w.below(2);
    let mut said: Vec<String> =
        w.sample(symptoms.len(), picked).into_iter().map(|at| w.write(symptoms[at], &[])).collect();
    let flag = if red {
        let flag = w.one(language.pick(RED_ZH, RED_EN));
        // alone, or beside what is harmless
        if w.chance(60) {
            said.clear();
        }
        let at = w.below(said.len() + 1);
        said.insert(at, flag.to_owned());
        Some(flag)
    } else {
        None
    };
    let (child, pregnant) = (who == 0 || (who == 1 && department.general), who == 2);
    let age = if child { w.number(2, 12) } else { w.number(20, 85) }.to_string();
    let patient = w.phrase(
        match (child, pregnant) {
            (true, _) => language.pick(CHILD_ZH, CHILD_EN),
            (_, true) => language.pick(PREGNANT_ZH, PREGNANT_EN),
            _ => language.pick(ADULT_ZH, ADULT_EN),
        },
        &[("age", &age)],
    );
    let name = match (flag, pregnant, child && department.general) {
        (Some(_), ..) => language.pick("急诊科", "Emergency"),
        (_, true, _) => language.pick("产科", "Obstetrics"),
        (_, _, true) => language.pick("儿科", "Pediatrics"),
        _ => language.pick(department.zh, department.en),
    };
    let question = ask(&mut w, &patient, &said);
    let (answer, expected) = answer(language, name, flag);
    Example::new(w, question, answer, expected)
}

/// The complaint with its question.
fn ask(w: &mut Writer, patient: &str, said: &[String]) -> String {
    let language = w.language();
    let symptoms = said.join(language.pick("，", " and "));
    let since = if w.chance(60) {
        let n = w.number(2, 9).to_string();
        w.phrase(language.pick(SINCE_ZH, SINCE_EN), &[("n", &n)])
    } else {
        String::new()
    };
    let complaint = w.phrase(
        language.pick(COMPLAINTS_ZH, COMPLAINTS_EN),
        &[("who", patient), ("symptoms", &symptoms), ("since", &since)],
    );
    let ask = w.phrase(language.pick(ASK_ZH, ASK_EN), &[]);
    match language {
        Language::Zh => format!("{complaint}{ask}"),
        Language::En => format!("{complaint} {ask}"),
    }
}

fn answer(language: Language, department: &str, flag: Option<&str>) -> (String, serde_json::Value) {
    let (line, warning, none) = language.pick(
        (
            format!("建议科室：{department}"),
            "请立即拨打120或去急诊。",
            "危险信号：无。如果加重，请尽快就医。",
        ),
        (
            format!("Department: {department}"),
            "Call an ambulance or go to the emergency room now.",
            "Red flags: none. If it gets worse, see a doctor soon.",
        ),
    );
    let end = language.pick("仅供参考，不能代替医生。", "This is no medical advice.");
    let middle = match flag {
        Some(flag) => {
            language.pick(format!("危险信号：{flag}。{warning}"), format!("Red flags: {flag}. {warning}"))
        }
        None => none.to_owned(),
    };
    let expected = match flag {
        Some(_) => json!({"contains": [line, warning]}),
        None => json!({"contains": [line], "not": [warning]}),
    };
    (format!("{line}\n{middle}\n{end}"), expected)
}

const DEPARTMENTS: &[Department] = &[
    Department {
        zh: "神经内科",
        en: "Neurology",
        symptoms_zh: &[
            "头痛",
            "<头疼|脑袋疼>",
            "<头晕|眩晕>",
            "手抖",
            "偏头痛",
            "记性越来越差",
            "手脚<发麻|麻木>",
            "走路不稳",
        ],
        symptoms_en: &[
            "a headache",
            "migraines",
            "<dizziness|dizzy spells>",
            "trembling hands",
            "poor memory",
            "numb <fingers|feet>",
            "trouble keeping balance",
        ],
        general: false,
    },
    Department {
        zh: "心内科",
        en: "Cardiology",
        symptoms_zh: &["<心慌|心悸>", "血压高", "心跳<很快|不齐>", "爬楼胸闷", "<脚踝|小腿>浮肿", "早搏"],
        symptoms_en: &[
            "palpitations",
            "high blood pressure",
            "<a racing|an irregular> heartbeat",
            "a tight chest on stairs",
            "swollen ankles",
            "skipped heartbeats",
        ],
        general: false,
    },
    Department {
        zh: "呼吸内科",
        en: "Respiratory Medicine",
        symptoms_zh: &["咳嗽", "<咳痰|痰多>", "<发烧|发热>", "哮喘", "喘", "干咳"],
        symptoms_en: &[
            "a cough",
            "<phlegm|a lot of phlegm>",
            "a <slight |>fever",
            "asthma",
            "wheezing",
            "a dry cough",
        ],
        general: true,
    },
    Department {
        zh: "消化内科",
        en: "Gastroenterology",
        symptoms_zh: &[
            "胃痛",
            "<拉肚子|腹泻>",
            "反酸",
            "<恶心|想吐>",
            "便秘",
            "<肚子胀|腹胀>",
            "烧心",
            "没胃口",
        ],
        symptoms_en: &[
            "stomach ache",
            "diarrhoea",
            "heartburn",
            "<nausea|vomiting>",
            "constipation",
            "bloating",
            "no appetite",
        ],
        general: true,
    },
    Department {
        zh: "骨科",
        en: "Orthopedics",
        symptoms_zh: &[
            "<腰痛|腰疼>",
            "膝盖<疼|痛>",
            "<脚扭了|崴了脚>",
            "<肩膀|脖子>疼",
            "<手腕|胳膊>摔伤",
            "关节响",
        ],
        symptoms_en: &[
            "back pain",
            "knee pain",
            "a sprained ankle",
            "<shoulder|neck> pain",
            "a sore wrist after a fall",
            "creaking joints",
        ],
        general: false,
    },
    Department {
        zh: "皮肤科",
        en: "Dermatology",
        symptoms_zh: &["<皮疹|起疹子>", "皮肤痒", "<长痘|青春痘>", "湿疹", "掉头发", "<脚气|手癣>", "脱皮"],
        symptoms_en: &[
            "a rash",
            "itchy skin",
            "acne",
            "eczema",
            "hair loss",
            "athlete's foot",
            "peeling skin",
        ],
        general: false,
    },
    Department {
        zh: "眼科",
        en: "Ophthalmology",
        symptoms_zh: &["眼睛<红|痒>", "<看不清|视力下降>", "流泪", "眼睛干", "眼前有黑点", "麦粒肿"],
        symptoms_en: &[
            "red eyes",
            "blurred vision",
            "watery eyes",
            "dry eyes",
            "spots before the eyes",
            "a stye",
        ],
        general: false,
    },
    Department {
        zh: "耳鼻喉科",
        en: "ENT",
        symptoms_zh: &[
            "<耳鸣|耳朵响>",
            "<鼻塞|流鼻涕>",
            "<嗓子疼|喉咙痛>",
            "听力下降",
            "声音沙哑",
            "耳朵疼",
            "打鼾",
        ],
        symptoms_en: &[
            "ringing ears",
            "a <blocked|runny> nose",
            "a sore throat",
            "hearing loss",
            "a hoarse voice",
            "earache",
            "snoring",
        ],
        general: false,
    },
    Department {
        zh: "口腔科",
        en: "Dentistry",
        symptoms_zh: &["<牙疼|牙痛>", "牙龈出血", "口腔溃疡", "牙齿松动", "智齿发炎", "牙齿敏感"],
        symptoms_en: &[
            "toothache",
            "bleeding gums",
            "mouth ulcers",
            "a loose tooth",
            "a sore wisdom tooth",
            "sensitive teeth",
        ],
        general: false,
    },
    Department {
        zh: "泌尿外科",
        en: "Urology",
        symptoms_zh: &["<尿频|小便多>", "小便<疼|刺痛>", "尿急", "肾结石", "夜里老起来上厕所", "排尿困难"],
        symptoms_en: &[
            "frequent urination",
            "burning when passing urine",
            "an urgent bladder",
            "kidney stones",
            "getting up at night to pee",
            "trouble passing urine",
        ],
        general: false,
    },
    Department {
        zh: "内分泌科",
        en: "Endocrinology",
        symptoms_zh: &["血糖高", "甲状腺<肿大|结节>", "总是口渴", "体重突然下降", "怕热多汗", "糖尿病"],
        symptoms_en: &[
            "high blood sugar",
            "a thyroid nodule",
            "constant thirst",
            "sudden weight loss",
            "sweating and feeling hot",
            "diabetes",
        ],
        general: false,
    },
    Department {
        zh: "妇科",
        en: "Gynecology",
        symptoms_zh: &["<月经不调|例假不准>", "痛经", "白带异常", "经期太长", "更年期潮热", "子宫肌瘤"],
        symptoms_en: &[
            "irregular periods",
            "period pain",
            "unusual discharge",
            "very long periods",
            "hot flushes in menopause",
            "fibroids",
        ],
        general: false,
    },
    Department {
        zh: "心理科",
        en: "Psychiatry",
        symptoms_zh: &["<失眠|睡不着>", "<焦虑|紧张>", "情绪低落", "对什么都没兴趣", "压力很大", "莫名害怕"],
        symptoms_en: &[
            "<insomnia|trouble sleeping>",
            "<anxiety|constant worry>",
            "low mood",
            "no interest in anything",
            "a lot of stress",
            "panic for no reason",
        ],
        general: false,
    },
    Department {
        zh: "普外科",
        en: "General Surgery",
        symptoms_zh: &["痔疮", "身上长了个<包|肿块>", "疝气", "胆结石", "<伤口|手术口>化脓", "静脉曲张"],
        symptoms_en: &[
            "piles",
            "a lump under the skin",
            "a hernia",
            "gallstones",
            "an infected wound",
            "varicose veins",
        ],
        general: false,
    },
];

const RED_ZH: &[&str] = &[
    "胸口像压着石头一样疼",
    "突然说不出话",
    "一侧手脚没力气",
    "突发剧烈头痛",
    "昏过去了",
    "吐血",
    "拉黑便还头晕",
    "喘不上气",
    "高烧抽搐",
    "嘴唇发紫",
    "脸突然歪了",
    "大量出血",
    "吃错药后意识模糊",
    "过敏后喉咙肿",
    "头部受伤后呕吐",
    "想自杀",
    "突然看不见了",
    "肚子硬得像板一样疼",
    "胸痛放射到左臂",
    "误吞了纽扣电池",
];
const RED_EN: &[&str] = &[
    "crushing chest pain",
    "sudden trouble speaking",
    "weakness on one side",
    "a sudden violent headache",
    "fainting",
    "vomiting blood",
    "black stools with dizziness",
    "gasping for air",
    "a high fever with seizures",
    "blue lips",
    "a drooping face",
    "heavy bleeding",
    "confusion after taking wrong pills",
    "a swelling throat after a sting",
    "vomiting after a head injury",
    "thoughts of suicide",
    "sudden loss of sight",
    "a belly as hard as a board",
    "chest pain going into the left arm",
    "a swallowed button battery",
];

const ADULT_ZH: &[&str] = &[
    "我<|最近|这几天|今天>",
    "我<|今年>{age}岁，<|最近>",
    "我<爸|妈|爷爷|奶奶>{age}岁，<|最近>",
    "我<先生|太太|同事|朋友|室友><|最近>",
    "本人{age}岁，",
    "<男|女|患者|病人>，{age}岁，",
    "家里老人{age}岁，",
];
const ADULT_EN: &[&str] = &[
    "<Lately |Today |>I <have|have got|suffer from>",
    "I am {age} and <have|have got|suffer from>",
    "My <father|mother|uncle|aunt> is {age} and <has|suffers from>",
    "My <wife|husband|friend|neighbour|flatmate> <has|suffers from>",
    "A <man|woman|patient> of {age} <with|has>",
    "<Patient|Adult>, {age}: has",
    "A colleague <has|suffers from>",
];
const CHILD_ZH: &[&str] = &[
    "<我家|我|>孩子{age}岁，<|最近>",
    "我<儿子|女儿|侄子|外甥><|才|今年>{age}岁，",
    "<宝宝|小朋友|小孩>{age}岁，",
    "{age}岁的<小孩|孩子|宝宝>，",
];
const CHILD_EN: &[&str] = &[
    "My <child|son|daughter|nephew|niece> is <only |>{age} and has",
    "<My|Our> <kid|little one|child> (<age |>{age}) has",
    "A {age}-year-old <child|boy|girl> <with|has>",
    "<My|Our> <son|daughter|child>, {age}, has",
];
const PREGNANT_ZH: &[&str] = &[
    "我<怀孕了|怀孕五个月|是孕妇|怀着宝宝|怀着孩子|怀着双胞胎|怀着二胎|怀了宝宝|肚子里有宝宝|有身孕>，",
    "<孕妇|怀孕了|怀着孩子>，{age}岁，",
    "我<太太|老婆|姐姐><怀孕了|怀孕三个月|怀了宝宝|怀着双胞胎|快生了>，",
];
const PREGNANT_EN: &[&str] = &[
    "I am <pregnant|five months pregnant|expecting a baby|expecting twins> and <have|have got|suffer from>",
    "My <wife|sister|daughter|friend> is <pregnant|five months pregnant|expecting a baby|expecting twins> and <has|suffers from>",
    "A pregnant <woman|patient|friend> <of {age} |><with|has>",
    "<Pregnant|Pregnant patient|Pregnant woman>, {age}, <with|has>",
];
const SINCE_ZH: &[&str] = &[
    "，<已经|>{n}天了",
    "，<持续|有>{n}<天|周|个月><了|>",
    "，<昨天|前天|今早|上周>开始的",
    "，{n}天<没好|不见好>",
    "，<时好时坏|反反复复>",
];
const SINCE_EN: &[&str] = &[
    " for <about |>{n} <days|weeks|months><| now>",
    " since <yesterday|this morning|last week|Monday>",
    " on and off for {n} <days|weeks|months>",
];
const COMPLAINTS_ZH: &[&str] = &[
    "<医生你好，|你好，|情况是这样：|>{who}<|有点|总是|一直>{symptoms}{since}。",
    "<医生你好，|你好，|>{who}<|有点|总是|一直>{symptoms}{since}，<很难受|有点担心|很不舒服>。",
];
const COMPLAINTS_EN: &[&str] = &[
    "<Hello doctor. |Hello. |Here is the problem: |>{who} {symptoms}{since}.",
    "<Hello doctor. |Hello. |>{who} {symptoms}{since}, <and it worries me|and it is bad|nothing else|and it gets worse>.",
];
const ASK_ZH: &[&str] = &[
    "<该|应该|要|请问|>挂<什么|哪个|哪一>科<|的号>？",
    "<该|应该|要|请问|><看|去><什么|哪个>科<|室>？",
    "<看哪科|挂哪科|去哪科><合适|对|好>？",
    "<推荐|建议>一个科室<吧|>。",
    "<帮我|请>分诊<一下|>。",
];
const ASK_EN: &[&str] = &[
    "<Which|What> <hospital |><department|clinic> <should I visit|do I need|is right|should I book|do we go to>?",
    "Where <should we go|do I go|do we go with this><| in the hospital>?",
    "<Please |>suggest a <hospital |><department|clinic>.",
    "<Which|What> <doctor|department> <is that for|should look at it>?",
];
